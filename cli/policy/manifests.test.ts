import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { EXIT } from '../terminal/exit-codes.ts';
import { run } from '../program.ts';

const shapes = join(import.meta.dirname, '../../test/manifests');
const folder = mkdtempSync(join(tmpdir(), 'bulkhead-'));
afterAll(() => rmSync(folder, { recursive: true }));

let out = '';
let err = '';
beforeEach(() => {
  [out, err] = ['', ''];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += String(text);
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += String(text);
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

const file = (text: string): string => {
  const path = join(folder, 'm.yaml');
  writeFileSync(path, text);
  return path;
};
const world = (...policies: string[]): string =>
  file(
    [
      'apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: x, labels: {app: web}}',
      'apiVersion: v1\nkind: Pod\nmetadata: {name: db, namespace: x, labels: {app: db}}\nspec: {containers: [{name: c, ports: [{name: pg, containerPort: 5432}]}]}',
      'apiVersion: v1\nkind: Service\nmetadata: {name: store, namespace: x}\nspec: {selector: {app: db}, ports: [{port: 80, targetPort: pg}]}',
      ...policies,
    ].join('\n---\n'),
  );
const policy = (spec: string, name = 'p'): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: ${name}, namespace: x}\nspec: ${spec}`;

describe('explain on manifests', () => {
  test.each<[name: string, spec: string, code: number]>([
    ['null beside labels', '{podSelector: {matchLabels: }, ingress: [{from: [{podSelector: {}}]}]}', EXIT.yes],
    ['a null subject', '{podSelector: , ingress: [{from: [{podSelector: {}, namespaceSelector: }]}]}', EXIT.yes],
    ['a null protocol', '{podSelector: {}, ingress: [{ports: [{protocol: , port: 5432}]}]}', EXIT.yes],
    ['a null list of types', '{podSelector: {}, policyTypes: , ingress: }', EXIT.no],
  ])('%s', async (_, spec, code) => {
    expect(await run(['explain', 'x/web', 'x/db:5432', '-f', world(policy(spec))])).toBe(code);
    expect(err).toBe('');
  });

  test('the pods behind a Service are asked', async () => {
    expect(
      await run(['explain', 'x/web', 'svc/x/store:80', '-f', world(policy('{podSelector: {}, ingress: []}'))]),
    ).toBe(EXIT.no);
    const open = policy('{podSelector: {}, ingress: [{ports: [{port: pg}]}]}');
    expect(await run(['explain', 'x/web', 'svc/x/store:80', '-f', world(open)])).toBe(EXIT.yes);
  });

  test('an AdminNetworkPolicy counts, and a policy of another project is told', async () => {
    const path = world(
      'apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: a}\nspec: {priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}',
      'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: c, namespace: x}',
    );
    expect(await run(['explain', 'x/web', 'x/db:5432', '-f', path])).toBe(EXIT.no);
    expect(out).toMatch(/Admin: ClusterNetworkPolicy a, rule ingress\[0\]: Deny/);
    expect(err).toMatch(/AdminNetworkPolicy a is read as a ClusterNetworkPolicy/);
    expect(err).toMatch(/^not judged.*: 1 CiliumNetworkPolicy \(cilium.io\/v2\)$/m);
  });

  test('a second object of a name is an error that names both places, and nothing is answered', async () => {
    const path = world(policy('{podSelector: {}}'), policy('{podSelector: {}, ingress: [{}]}'));
    expect(await run(['explain', 'x/web', 'x/db:5432', '-f', path])).toBe(EXIT.usage);
    expect(err).toMatch(/NetworkPolicy x\/p is there twice: \S+m.yaml:15 and \S+m.yaml:20/);
    expect(out).toBe('');
  });

  test('control characters of files reach no terminal', async () => {
    const path = world('apiVersion: x/v1\nkind: "\\e[31mNetworkPolicy"\nmetadata: {name: a}');
    expect(await run(['explain', 'x/web', 'x/db', '-f', path])).toBe(EXIT.yes);
    expect(err).toMatch(/not judged/);
    expect(err).not.toContain('\u001b');
  });
});

describe('lint on manifests', () => {
  test('ends with "no" for policies that are not judged, and says where findings are', async () => {
    expect(await run(['policy', 'lint', '-f', join(shapes, 'foreign'), '--only', 'NotJudged'])).toBe(EXIT.no);
    expect(await run(['policy', 'lint', '-f', world(policy('{podSelector: {}, ingres: []}'))])).toBe(EXIT.no);
    expect(out).toMatch(/m.yaml:18: .*Unreadable {2}NetworkPolicy x\/p {2}spec.ingres:/);
  });
});

describe('policy read', () => {
  test('prints what was read, once more readable', async () => {
    expect(await run(['policy', 'read', '-f', join(shapes, 'lists'), '-o', 'yaml'])).toBe(EXIT.yes);
    const printed = join(folder, 'again.yaml');
    writeFileSync(printed, out);
    const first = out;
    out = '';
    expect(await run(['policy', 'read', '-f', printed, '-o', 'yaml'])).toBe(EXIT.yes);
    expect(out).toBe(first);
    out = '';
    expect(await run(['policy', 'read', '-f', printed, '-o', 'json'])).toBe(EXIT.yes);
    expect((JSON.parse(out) as { items: unknown[] }).items).toEqual(parseAllDocuments(first).map((d) => d.toJS()));
  });

  test('skipped files are told in one line', async () => {
    expect(await run(['policy', 'read', '-f', join(shapes, 'beside')])).toBe(EXIT.yes);
    expect(err).toMatch(/^skipped 7 files that are no manifest: .*ci.yaml, .*, …\n$/);
  });

  test.each([
    [['policy', 'read'], /name manifests with -f or -k/],
    [['policy', 'convert'], /name manifests with -f or -k/],
    [['policy', 'convert', '-f', join(shapes, 'lists')], /there is no AdminNetworkPolicy/],
    [['policy', 'convert', '-f', join(shapes, 'foreign')], /all.yaml:39: spec.ingress\[0\].action/],
    [['policy', 'convert', '-f', join(shapes, 'lists'), '-o', 'text'], /write yaml or json/],
    [['policy', 'read', '-k', join(shapes, 'lists')], /kubectl kustomize: /],
    [['explain', 'a/b', 'c/d', '-f', join(shapes, 'lists'), '--context', 'x'], /leave --name, --kubeconfig/],
  ])('%j is wrong use', async (words, message) => {
    expect(await run(words)).toBe(EXIT.usage);
    expect(err).toMatch(message);
  });
});

test('policy convert prints what can be applied, and reads as the same policies', async () => {
  expect(await run(['policy', 'convert', '-f', join(shapes, 'admin-network-policies')])).toBe(EXIT.yes);
  const printed = file(out);
  expect(parseAllDocuments(out).map((d) => d.get('kind'))).toEqual(['ClusterNetworkPolicy', 'ClusterNetworkPolicy']);
  const specs = async (path: string): Promise<unknown[]> => {
    out = '';
    expect(await run(['policy', 'read', '-f', path, '-o', 'json'])).toBe(EXIT.yes);
    return (JSON.parse(out) as { items: { spec: unknown }[] }).items.map((i) => i.spec);
  };
  expect(await specs(printed)).toEqual(await specs(join(shapes, 'admin-network-policies')));
});
