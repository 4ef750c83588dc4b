import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readDefinition } from '../../core/read/definition.ts';
import { inside } from '../../lab/world/namespaces.ts';
import { CONTROLLER_PORT, fabricAddress, netPath } from '../../lab/world/plan.ts';
import { exec, ExecError } from '../../lib/exec/exec.ts';
import { ManifestError } from '../../lib/manifests/error.ts';
import { readManifests } from '../../lib/manifests/read.ts';
import { checkout, pod, shop, useLab } from '../system/lab.ts';

// JSON that is nested 200 000 deep, on each socket and in each text that users write: whoever reads it by calling itself runs out of stack.
// It is the writer's mistake, with an answer that says so, and what is written well is served behind it as before.

const lab = useLab('deep', { nodes: 2 });
const dir = mkdtempSync(join(tmpdir(), 'bhtest-deep-'));
afterAll(() => rmSync(dir, { recursive: true }));

const DEPTH = 200_000;
const deep = (depth = DEPTH): string => '{"a":['.repeat(depth / 2) + ']}'.repeat(depth / 2);
const TOO_DEEP = /nested more than 128 levels deep/;

/** One request with a body; status and text of the answer. */
async function post(url: string, token: string, body: string, contentType = 'application/json'): Promise<string> {
  const file = join(dir, 'body');
  writeFileSync(file, body);
  const { stdout } = await exec(
    [
      'nsenter',
      `--net=${netPath(lab.name, 'n1')}`,
      ...['curl', '-sk', '--max-time', '20', '-w', '\n%{http_code}', '--data-binary', `@${file}`],
      ...['-H', `authorization: Bearer ${token}`, '-H', `content-type: ${contentType}`, url],
    ],
    { timeoutMs: 30_000 },
  );
  const at = stdout.lastIndexOf('\n');
  return `${stdout.slice(at + 1)} ${stdout.slice(0, at)}`;
}

const CONTROLLER = `https://${fabricAddress(4, 3)}:${CONTROLLER_PORT}`;
const API = `https://${fabricAddress(4, 2)}:6443`;
const network = (spec: string): string =>
  `{"apiVersion":"bulkhead.dev/v1alpha1","kind":"VirtualNetwork","metadata":{"name":"deep","namespace":"a"},"spec":${spec}}`;
const review = (spec: string): string =>
  `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"bulkhead.dev","version":"v1alpha1","kind":"VirtualNetwork"},"resource":{"group":"bulkhead.dev","version":"v1alpha1","resource":"virtualnetworks"},"operation":"CREATE","namespace":"a","name":"deep","userInfo":{"username":"u"},"object":${network(spec)}}}`;

beforeAll(() => lab.apply(shop('a')));

describe('sockets', () => {
  const admin = (): string => lab.spec.tokens['admin'] ?? '';

  test('the webhook', async () => {
    expect(await post(`${CONTROLLER}/admit`, admin(), review(deep()))).toMatch(
      /^400 .*nested more than 128 levels deep/,
    );
    expect(await post(`${CONTROLLER}/admit`, admin(), review(deep(8)))).toMatch(/^200 /);
  });

  test("an agent's report", async () => {
    const token = lab.spec.tokens['agent:n1'] ?? '';
    const report = (more: string): string =>
      `{"node":"n1","revision":1,"blocks":[],"endpoints":[],"faults":[],"more":${more}}`;
    expect(await post(`${CONTROLLER}/v1/report`, token, report(deep()))).toMatch(/^400 .*nested more than 128/);
    expect(await post(`${CONTROLLER}/v1/report`, token, report(deep(8)))).toMatch(/^20\d /);
  });

  test("the lab's API server, in JSON and in YAML", async () => {
    const url = `${API}/apis/bulkhead.dev/v1alpha1/namespaces/a/virtualnetworks`;
    expect(await post(url, admin(), network(deep()))).toMatch(/^400 .*nested more than 128/);
    for (const depth of [400, DEPTH])
      expect(await post(url, admin(), network(deep(depth)), 'application/yaml')).toMatch(/^400 /);
    expect(await post(url, admin(), network('{}'), 'application/yaml')).toMatch(/^201 /);
  });

  test("the agent's socket", async () => {
    const asks = async (line: string): Promise<string> => {
      const file = join(dir, 'line');
      writeFileSync(file, `${line}\n`);
      const program = `
        const s = require('node:net').connect('/run/bulkhead/cni.sock', () => s.write(require('node:fs').readFileSync(${JSON.stringify(file)})));
        s.on('data', (d) => { process.stdout.write(d); if (String(d).includes('\\n')) s.end(); }).on('error', (e) => console.log(e.code));`;
      const [command, ...args] = inside(lab.name, { node: 'n1' }, [process.execPath, '-e', program]);
      return (await exec([command, ...args], { timeoutMs: 30_000 })).stdout;
    };
    expect(await asks(`{"verb":"STATUS","config":${deep(100_000)}}`)).toMatch(TOO_DEEP);
    expect(await asks('{"verb":"STATUS","config":{}}')).not.toMatch(TOO_DEEP);
  });

  test("the plugin's standard input", async () => {
    const run = async (more: string): Promise<string> => {
      const [command, ...args] = inside(lab.name, { node: 'n1' }, [
        'env',
        'CNI_COMMAND=STATUS',
        join(checkout, 'dist/cni/bulkhead'),
      ]);
      const input = `{"cniVersion":"1.1.0","name":"bulkhead","type":"bulkhead","socket":"/run/bulkhead/cni.sock","more":${more}}`;
      return exec([command, ...args], { input }).then(
        ({ stdout }) => `0 ${stdout}`,
        (error: unknown) => {
          if (error instanceof ExecError) return `${error.result.exitCode} ${error.result.stdout}`;
          throw error;
        },
      );
    };
    for (const depth of [130, DEPTH]) expect(await run(deep(depth))).toMatch(/^1 .*"code":6.*nested more than 128/);
    expect(await run(deep(8))).toBe('0 ');
  });
});

describe('texts', () => {
  test('annotations: the pod is refused, and one that is written well starts', async () => {
    const odd = pod('a', 'odd', { node: 'n1', annotations: { 'k8s.v1.cni.cncf.io/networks': `[${deep(600)}]` } });
    await expect(lab.apply(odd, { wait: false })).rejects.toThrow(TOO_DEEP);
    await lab.apply(
      [
        pod('a', 'even', { node: 'n1', annotations: { 'k8s.v1.cni.cncf.io/networks': '[]' } }),
        // What agents write here comes from the pod's own author until then.
        pod('a', 'status', { node: 'n2', annotations: { 'k8s.v1.cni.cncf.io/network-status': `[${deep(600)}]` } }),
      ].join('\n---\n'),
    );
    for (const name of ['even', 'status'])
      expect(await lab.connect('a/p1', await lab.ip(`a/${name}`), 8080)).toBe(`open:a/${name}`);
  });

  test('the configuration in a NetworkAttachmentDefinition: of no plugin', () => {
    const read = (config: string) => readDefinition({ metadata: { namespace: 'a', name: 'x' }, spec: { config } });
    expect(read(`{"type":"bulkhead","more":${deep()}}`).network).toBeUndefined();
    expect(read(`{"type":"bulkhead","more":${deep(8)}}`).network).toBe('a/x');
  });

  test('manifests', () => {
    for (const [name, text] of [
      ['flow.yaml', `apiVersion: v1\nkind: ConfigMap\ndata: ${deep()}`],
      ['some.yaml', `apiVersion: v1\nkind: ConfigMap\ndata: ${deep(300)}`],
      [
        'blocks.yaml',
        `apiVersion: v1\nkind: ConfigMap\ndata:\n${Array.from({ length: 3_000 }, (_, i) => `${' '.repeat(i + 1)}a:`).join('\n')} 1`,
      ],
      ['deep.json', network(deep())],
    ] as const) {
      const path = join(dir, name);
      writeFileSync(path, text);
      let error: unknown;
      try {
        readManifests(path);
      } catch (e) {
        error = e;
      }
      expect([name, error]).toEqual([name, expect.any(ManifestError)]);
      expect((error as Error).message).toMatch(/nested (too deep|more than 128)/);
      expect((error as Error).message).toContain(name);
    }
    const good = join(dir, 'good.json');
    writeFileSync(good, network(deep(8)));
    expect(readManifests(good)).toHaveLength(1);
  });
});
