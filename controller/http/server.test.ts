import 'reflect-metadata';
import { request, type RequestOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import * as x509 from '@peculiar/x509';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { NodeReport } from '../../api/report.ts';
import { reviewAdmission } from '../../core/admission/review.ts';
import { exampleState } from '../../core/cluster/example.ts';
import { viewOf } from '../../core/view/view.ts';
import { type Authority, issueServer, keyToPem, makeAuthority } from '../../lib/pki/certificates.ts';
import { controllerServer } from './server.ts';

let port = 0;
let close = (): Promise<unknown> => Promise.resolve();
let asked = 0;
const reports: NodeReport[] = [];
const faults: Error[] = [];

type Backend = Parameters<typeof controllerServer>[0];

/** A server that refuses everything but what is given. */
async function serve(backend: Partial<Backend>, { clientCa }: { readonly clientCa?: string } = {}) {
  const tls = await issueServer(await makeAuthority('test'), 'test', ['127.0.0.1']);
  const { server } = controllerServer(
    {
      agents: () => undefined,
      nodeOf: () => Promise.resolve(undefined),
      admit: ({ uid }) => Promise.resolve({ uid, allowed: true }),
      isApiServer: () => true,
      missing: () => undefined,
      metrics: () => Promise.resolve(''),
      mayReadMetrics: () => Promise.resolve(false),
      onFault: (e) => faults.push(e),
      ...backend,
    },
    { ...tls, ...(clientCa === undefined ? {} : { clientCa }) },
  );
  await server.listen({ host: '127.0.0.1', port: 0 });
  return { port: (server.server.address() as AddressInfo).port, close: () => server.close() };
}

beforeEach(async () => {
  asked = 0;
  reports.length = 0;
  faults.length = 0;
  const view = viewOf(exampleState());
  ({ port, close } = await serve({
    agents: () => ({ open: () => () => undefined, report: (r) => void reports.push(r) }),
    nodeOf: (token) => {
      asked++;
      return Promise.resolve(token === 'n1' ? 'n1' : undefined);
    },
    admit: (review) => Promise.resolve(reviewAdmission(view, review, 'All').response),
  }));
});
afterEach(() => close());

type Answer = { readonly status: number; readonly text: string };
const post = (
  path: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
  own: RequestOptions = {},
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        path,
        method: 'POST',
        rejectUnauthorized: false,
        headers: { 'content-type': 'application/json', ...headers },
        ...own,
      },
      (response) => {
        let text = '';
        response.on('data', (d: Buffer) => (text += d.toString()));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
const review = (object: unknown, fields: object = {}) => ({
  request: {
    uid: 'u',
    operation: 'CREATE',
    resource: { group: '', resource: 'pods' },
    namespace: 'a',
    object,
    ...fields,
  },
});
const AGENT = { authorization: 'Bearer n1' };
const REPORT = { node: 'n1', revision: 1, blocks: [], endpoints: [], faults: [] };

describe('/admit', () => {
  test('whatever the body, an answer below 500; and the next review is answered', async () => {
    const odd = fc.oneof(fc.jsonValue(), fc.string());
    const object = fc.record(
      {
        metadata: fc.oneof(
          odd,
          fc.record(
            { name: odd, namespace: odd, labels: odd, annotations: fc.oneof(odd, fc.dictionary(fc.string(), odd)) },
            { requiredKeys: [] },
          ),
        ),
        spec: fc.oneof(
          odd,
          fc.record({ containers: odd, subnets: odd, egress: odd, nodeName: odd }, { requiredKeys: [] }),
        ),
        status: odd,
      },
      { requiredKeys: [] },
    );
    const whole = fc.record({
      resource: fc.record({
        group: fc.constantFrom('', 'bulkhead.dev'),
        resource: fc.constantFrom('pods', 'namespaces', 'virtualnetworks', 'virtualnetworkrouters', 'x'),
      }),
      operation: fc.constantFrom('CREATE', 'UPDATE', 'DELETE', 'CONNECT'),
      object: fc.oneof(object, odd),
      oldObject: odd,
      name: odd,
      namespace: fc.oneof(odd, fc.constantFrom('a', 'b')),
    });
    const body = fc.oneof(
      odd.map((v) => JSON.stringify(v)),
      whole.map((fields) => JSON.stringify(review({}, fields))),
      fc.string(),
      fc.uint8Array(),
    );
    await fc.assert(
      fc.asyncProperty(body, async (b) => {
        const { status, text } = await post('/admit', b);
        expect(`${status} ${text}`).toMatch(/^[24]\d\d /);
      }),
      { numRuns: 500 },
    );
    expect(faults).toEqual([]);
    expect((await post('/admit', JSON.stringify(review({ metadata: { name: 'p' } })))).status).toBe(200);
  });

  test.each(['', 'null', '7', '[]', '{}', '{"request":null}', '{"request":{}}', '{"request":{"uid":"u"}}'])(
    'the body %s is 400',
    async (body) => {
      expect((await post('/admit', body)).status).toBe(400);
    },
  );

  test.each([
    ['__proto__', '{"__proto__":{"polluted":1},"request":{"uid":"u","__proto__":{"polluted":1}}}'],
    ['constructor', '{"constructor":{"prototype":{"polluted":1}},"request":{"uid":"u"}}'],
    ['200 000 lists', `{"request":${'['.repeat(200_000)}${']'.repeat(200_000)}}`],
    ['100 000 objects', `${'{"request":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
  ])('keys of prototypes and very deep JSON: %s', async (_, body) => {
    expect((await post('/admit', body)).status).toBeGreaterThanOrEqual(400);
    expect((await post('/v1/report', body, AGENT)).status).toBeGreaterThanOrEqual(400);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect((await post('/admit', JSON.stringify(review({ metadata: { name: 'p' } })))).status).toBe(200);
  });

  test('a body beyond 3 MB is refused', async () => {
    expect((await post('/admit', `"${'a'.repeat(4 << 20)}"`).catch(() => ({ status: 413 }))).status).toBe(413);
  });
});

describe('/v1/report', () => {
  test('without a token nothing of the body is read', async () => {
    const sent = request({
      host: '127.0.0.1',
      port,
      path: '/v1/report',
      method: 'POST',
      rejectUnauthorized: false,
      headers: { 'content-type': 'application/json', 'content-length': '4000000', authorization: 'Bearer junk' },
    });
    sent.on('error', () => undefined);
    const status = new Promise((resolve) => sent.on('response', (r) => resolve(r.statusCode)));
    sent.write('{');
    expect(await status).toBe(401);
    sent.destroy();
    expect(asked).toBe(1);
  });

  test('only for the own node, and only what the schema takes', async () => {
    expect((await post('/v1/report', JSON.stringify(REPORT), AGENT)).status).toBe(200);
    expect((await post('/v1/report', JSON.stringify({ ...REPORT, node: 'n2' }), AGENT)).status).toBe(403);
    expect(reports.map((r) => r.node)).toEqual(['n1']);
  });

  test('whatever an agent sends, an answer below 500', async () => {
    const odd = fc.oneof(fc.jsonValue(), fc.string());
    const report = fc.record(
      { node: fc.constant('n1'), revision: odd, blocks: odd, endpoints: odd, faults: odd, problems: odd, version: odd },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(fc.oneof(odd, report), async (value) => {
        const { status } = await post('/v1/report', JSON.stringify(value), AGENT);
        expect([200, 400, 403, 429]).toContain(status);
      }),
      { numRuns: 150 },
    );
    expect(faults).toEqual([]);
  });
});

test('with an authority for webhook clients, only a certificate of it makes an API server', async () => {
  const clients = await makeAuthority('clients');
  const seen: boolean[] = [];
  const certified = await serve(
    {
      admit: ({ uid }, fromApiServer) => {
        seen.push(fromApiServer);
        return Promise.resolve({ uid, allowed: true });
      },
      isApiServer: (caller) => caller.certified,
    },
    { clientCa: clients.cert.toString('pem') },
  );
  const body = JSON.stringify(review({ metadata: { name: 'p' } }));
  const right = await clientOf(clients);
  const wrong = await clientOf(await makeAuthority('clients'));
  for (const own of [{}, right, wrong])
    expect((await post('/admit', body, {}, { agent: false, port: certified.port, ...own })).status).toBe(200);
  expect(seen).toEqual([false, true, false]);
  await certified.close();
});

/** A certificate by which a client shows who it is. */
async function clientOf(authority: Authority): Promise<{ cert: string; key: string }> {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const cert = await x509.X509CertificateGenerator.create({
    serialNumber: '01',
    subject: 'CN=kube-apiserver',
    issuer: authority.cert.subject,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    publicKey: keys.publicKey,
    signingKey: authority.key,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth])],
  });
  return { cert: cert.toString('pem'), key: await keyToPem(keys.privateKey) };
}
