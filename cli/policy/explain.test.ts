import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { stringify } from 'yaml';
import { run } from '../program.ts';
import { EXIT } from '../terminal/exit-codes.ts';

// The command as people use it, on manifests alone.

const folder = mkdtempSync(join(tmpdir(), 'explain-'));
afterAll(() => rmSync(folder, { recursive: true }));
let printed = '';
beforeEach(() => {
  printed = '';
  for (const stream of [process.stdout, process.stderr])
    vi.spyOn(stream, 'write').mockImplementation((text) => {
      printed += String(text);
      return true;
    });
});
afterEach(() => vi.restoreAllMocks());

const pod = (namespace: string, name: string, rest: { ip?: string; spec?: object; status?: object } = {}): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace, name, labels: { app: name.replace(/\d$/, '') } },
  spec: {
    nodeName: 'n1',
    containers: [{ name: 'c', image: 'x', ports: [{ name: 'http', containerPort: 8080 }] }],
    ...rest.spec,
  },
  status: {
    phase: 'Running',
    ...(rest.ip ? { podIPs: [{ ip: rest.ip }, { ip: `fd00::${rest.ip.split('.')[3]}` }] } : {}),
    ...rest.status,
  },
});
const service = (namespace: string, name: string, spec: object): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace, name },
  spec,
});
const policy = (namespace: string, spec: object): object => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace, name: 'p' },
  spec: { podSelector: {}, ...spec },
});
const node = (name: string, n: number): object => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name },
  spec: { podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`] },
  status: { addresses: [{ type: 'InternalIP', address: `192.0.2.1${n}` }] },
});
const slice = (namespace: string, name: string, addresses: string[], port: number): object => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { namespace, name, labels: { 'kubernetes.io/service-name': name } },
  addressType: 'IPv4',
  ports: [{ name: '', port, protocol: 'TCP' }],
  endpoints: addresses.map((ip) => ({ addresses: [ip], conditions: { ready: true } })),
});

const WORLD = [
  node('n1', 1),
  node('n2', 2),
  pod('a', 'cli1', { ip: '10.244.1.5' }),
  pod('b', 'cli1', { ip: '10.244.1.6' }),
  pod('a', 'srv1', { ip: '10.244.1.7' }),
  pod('a', 'srv2', { ip: '10.244.1.8' }),
  pod('a', 'done', { status: { phase: 'Succeeded' }, ip: '10.244.1.9' }),
  pod('a', 'host', { spec: { hostNetwork: true, nodeName: 'n2' }, ip: '192.0.2.12' }),
  service('default', 'kubernetes', { clusterIP: '10.96.0.1', ports: [{ port: 443 }] }),
  slice('default', 'kubernetes', ['192.0.2.2'], 6443),
  service('a', 'srv', {
    clusterIP: '10.96.1.0',
    selector: { app: 'srv' },
    ports: [{ name: 'web', port: 80, targetPort: 8080 }],
  }),
  service('a', 'extname', { type: 'ExternalName', externalName: 'example.com' }),
];

let files = 0;
/** Runs `bulkhead explain …` on the world and more; its exit code, and all that it prints. */
async function explain(objects: readonly object[], ...words: string[]): Promise<readonly [code: number, text: string]> {
  const file = join(folder, `${files++}.yaml`);
  writeFileSync(file, [...WORLD, ...objects].map((o) => stringify(o)).join('---\n'));
  printed = '';
  return [await run(['explain', ...words, '-f', file]), printed];
}

describe('explain judges what is behind an address', () => {
  test.each([
    ['the address of the Service opens nothing', { cidr: '10.96.0.1/32' }, 443, EXIT.no],
    ['the address and port of the endpoint do', { cidr: '192.0.2.0/24' }, 6443, EXIT.yes],
    ['its address with the port of the Service does not', { cidr: '192.0.2.0/24' }, 443, EXIT.no],
  ])('%s', async (_, ipBlock, port, wanted) => {
    const egress = policy('a', { policyTypes: ['Egress'], egress: [{ to: [{ ipBlock }], ports: [{ port }] }] });
    for (const to of ['10.96.0.1:443', 'api', 'svc/default/kubernetes']) {
      const [code, text] = await explain([egress], 'a/cli1', to);
      expect([to, code]).toEqual([to, wanted]);
      expect(text).toContain('192.0.2.2 port 6443');
      // What helps is an address that packets have there.
      if (wanted === EXIT.no) expect(text).toMatch(/cidr: 192\.0\.2\.2\/32[\s\S]*port: 6443/);
    }
  });

  test('the receivers behind a Service are asked, and the remedy is theirs', async () => {
    const deny = policy('a', { podSelector: { matchLabels: { app: 'srv' } }, policyTypes: ['Ingress'] });
    for (const to of ['10.96.1.0:80', 'svc/a/srv:80', 'a/srv:80', 'svc/a/srv:web', 'svc/a/srv']) {
      const [code, text] = await explain([deny], 'b/cli1', to);
      expect([to, code]).toEqual([to, EXIT.no]);
      expect(text).toMatch(/pod a\/srv1 port 8080, pod a\/srv2 port 8080/);
      expect(text).toMatch(/add to spec\.ingress of NetworkPolicy a\/p[\s\S]*port: 8080/);
    }
    expect((await explain([], 'b/cli1', 'a/srv:80'))[0]).toBe(EXIT.yes);
  });

  test('what a name was taken for is said', async () => {
    expect((await explain([], 'b/cli1', 'a/srv:80'))[1]).toContain('a/srv:80 is taken as Service a/srv');
    const [, text] = await explain([], 'b/cli1', 'pod/a/srv:80');
    expect(text).toContain('pod/a/srv:80 is taken as pod a/srv1, the first of 2; the others: a/srv2');
  });
});

describe('explain says which family', () => {
  test.each([
    ['0.0.0.0/0', ['Accept', 'Deny']],
    ['::/0', ['Deny', 'Accept']],
  ])('ipBlock %s opens one family alone', async (cidr, [v4, v6]) => {
    const egress = policy('b', { policyTypes: ['Egress'], egress: [{ to: [{ ipBlock: { cidr } }] }] });
    const [code, text] = await explain([egress], 'b/cli1', 'a/srv1:8080');
    expect(code).toBe(EXIT.no);
    expect(text).toMatch(new RegExp(`differs by family:\n +${v4} +IPv4\n +${v6} +IPv6`));
    const one = await explain([egress], 'b/cli1', 'a/srv1:8080', '--ip-family', v4 === 'Accept' ? 'ipv4' : 'ipv6');
    expect(one[0]).toBe(EXIT.yes);
    const [, json] = await explain([egress], 'b/cli1', 'a/srv1:8080', '-o', 'json');
    expect(JSON.parse(json)).toMatchObject({ verdict: 'Deny', families: [{ verdict: v4 }, { verdict: v6 }] });
  });

  test('both at once where they agree', async () => {
    expect((await explain([], 'b/cli1', 'a/srv1:8080'))[1]).toContain('TCP 8080 (IPv4 and IPv6)');
  });
});

describe('explain gives the right reason', () => {
  test("the pod's own node", async () => {
    const deny = policy('a', { policyTypes: ['Egress'] });
    const [code, text] = await explain([deny], 'a/cli1', 'node/n1:10250');
    expect([code, text]).toEqual([EXIT.yes, expect.stringContaining('a pod always reaches its own node') as string]);
    expect(text).toContain('whatever NetworkPolicy a/p says');
    expect((await explain([deny], 'a/cli1', 'node/n2:10250'))[0]).toBe(EXIT.no);
  });

  test('a finished pod, a pod of the host network, an ExternalName', async () => {
    expect(await explain([], 'a/done', 'a/srv1:8080')).toEqual([
      EXIT.no,
      expect.stringContaining('pod a/done has finished: it has no network any more') as string,
    ]);
    expect((await explain([], 'a/host', 'a/srv1:8080'))[1]).toContain('pod a/host (on the network of node n2)');
    expect(await explain([], 'a/cli1', 'a/extname')).toEqual([
      EXIT.usage,
      expect.stringContaining('is an ExternalName') as string,
    ]);
  });

  test('every port has one answer, and it does not name one of them', async () => {
    expect((await explain([], 'b/cli1', 'a/srv1'))[1]).toMatch(/Accept .*, every port \(/);
    const [, text] = await explain([policy('a', { policyTypes: ['Ingress'] })], 'b/cli1', 'a/srv1');
    expect(text).toMatch(/Deny .*, every port \(/);
    expect(text).not.toMatch(/TCP \d/);
  });

  test('a Service without endpoints shows no address that the manifests do not say', async () => {
    const none = service('a', 'none', { ports: [{ port: 80 }] });
    for (const more of [[], [policy('a', { policyTypes: ['Egress'] })]]) {
      const [code, text] = await explain([none, ...more], 'a/cli1', 'svc/a/none');
      expect(code).toBe(EXIT.no);
      expect(text).toContain('Service a/none has no ready endpoint');
      expect(text).not.toMatch(/behind it|\b0\.\d+\.\d+\.\d+/);
    }
  });

  test('the port of the overlay alone makes no "no" of every port', async () => {
    for (const to of ['internet', 'node/n2']) {
      const [code, text] = await explain([], 'a/cli1', to);
      expect([to, code]).toEqual([to, EXIT.yes]);
      expect(text).toMatch(/Accept .*, every port but UDP 4789, the port of the overlay \(/);
      expect(text).not.toMatch(/differs by port|port 1$/m);
      expect((await explain([], 'a/cli1', `${to}:4789/udp`))[0]).toBe(EXIT.no);
    }
    const [code, text] = await explain([policy('a', { policyTypes: ['Egress'] })], 'a/cli1', 'internet');
    expect([code, text]).toEqual([EXIT.no, expect.stringMatching(/Deny .*, every port \(/) as string]);
    const data = JSON.parse((await explain([], 'a/cli1', 'internet', '-o', 'json'))[1]) as { ports: object[] };
    expect(data).toMatchObject({ verdict: 'Accept' });
    expect(data.ports).toContainEqual({ protocol: 'UDP', first: 4789, last: 4789, verdict: 'Deny' });
  });

  test('a named port, on either kind of end', async () => {
    expect((await explain([], 'b/cli1', 'a/srv1:http'))[1]).toContain('TCP 8080');
    expect((await explain([], 'b/cli1', 'a/srv1:nope'))[0]).toBe(EXIT.usage);
  });

  test('all that is wrong with the question at once', async () => {
    const [code, text] = await explain([], 'a/nobody', 'node/n9:99999');
    expect(code).toBe(EXIT.usage);
    expect(text).toContain('port 99999 is not from 1 to 65535');
    expect(text).toContain('there is no pod a/nobody');
    expect(text).toContain('write NAMESPACE/POD, svc/NAMESPACE/NAME, node/NAME, api, internet, an IP address'.slice(6));
  });
});

describe('explain says what opens a network', () => {
  const isolated = (name: string): object => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { 'bulkhead.dev/isolated': 'true' } },
  });
  const world = [isolated('i'), isolated('j'), pod('i', 'p'), pod('j', 'q')];

  test.each([
    ['i/p', 'j/q:8080', /VirtualNetworkRouter/],
    ['internet', 'i/p:8080', /open-ports\.md/],
    ['b/cli1', 'i/p:8080', /open-ports\.md/],
    ['i/p', 'b/cli1:8080', /^(?![\s\S]*(VirtualNetworkRouter|open-ports))/],
  ])('%s to %s', async (from, to, advice) => {
    const [code, text] = await explain(world, from, to);
    expect(code).toBe(EXIT.no);
    expect(text).toMatch(advice);
    expect(/VirtualNetworkRouter/.test(text)).toBe(advice.source === 'VirtualNetworkRouter');
  });
});

describe('explain takes every kind of sender', () => {
  const ingress = policy('a', {
    ingress: [{ from: [{ ipBlock: { cidr: '203.0.113.0/24' } }], ports: [{ port: 8080 }] }],
  });

  test.each([
    ['203.0.113.9', EXIT.yes],
    ['198.51.100.9', EXIT.no],
    ['node/n2', EXIT.no],
    ['node/n1', EXIT.yes], // the pod's own
    ['10.244.1.6', EXIT.no],
  ])('%s', async (from, wanted) => {
    expect((await explain([ingress], from, 'a/srv1:8080'))[0]).toBe(wanted);
  });
});

describe('explain --all', () => {
  test('has rows for nodes and the outside, reasons, and only one namespace with -n', async () => {
    const deny = policy('a', { podSelector: { matchLabels: { app: 'srv' } }, policyTypes: ['Ingress'] });
    const [code, json] = await explain([deny], '--all', '-o', 'json');
    expect(code).toBe(EXIT.yes);
    const { pairs } = JSON.parse(json) as { pairs: { from: string; to: string; verdict: string; why: string }[] };
    expect(new Set(pairs.map((p) => p.from))).toEqual(
      new Set(['a/cli1', 'a/host', 'a/srv1', 'a/srv2', 'b/cli1', 'internet', 'node/n1', 'node/n2']),
    );
    expect(new Set(pairs.map((p) => p.to))).toContain('internet');
    expect(pairs.find((p) => p.from === 'b/cli1' && p.to === 'a/srv1')).toMatchObject({
      verdict: 'Deny',
      why: expect.stringContaining('NetworkPolicy a/p') as string,
    });
    const [, text] = await explain([deny], '--all', '-n', 'b');
    expect(text).toMatch(/^b\/cli1:8080\/TCP/m);
    expect(text).not.toContain('node/n1 a/');
    const only = JSON.parse((await explain([deny], '--all', '-n', 'b', '-o', 'json'))[1]) as typeof JSON & {
      pairs: { from: string; to: string }[];
    };
    expect(only.pairs.every((p) => p.from.startsWith('b/') || p.to.startsWith('b/'))).toBe(true);
  });
});
