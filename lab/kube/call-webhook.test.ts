import { createServer, type Server } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { issueServer, makeAuthority } from '../../lib/pki/certificates.ts';
import { Admission } from '../apiserver/admission/admission.ts';
import { ApiError } from '../apiserver/model/error.ts';
import { Operations } from '../apiserver/operations.ts';
import type { Json } from '../apiserver/model/path.ts';
import { Requests } from '../apiserver/requests.ts';
import { webhookCaller } from './call-webhook.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const c of cleanups.splice(0).reverse()) await c();
});

type Review = {
  readonly request: {
    readonly uid: string;
    readonly name: string;
    readonly operation: string;
    readonly dryRun: boolean;
  };
};
type Reply = (review: Review) => unknown;
const reviewOf = (response: object) => ({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response });
const allow: Reply = ({ request: { uid } }) => reviewOf({ uid, allowed: true });

/** A webhook on a port of its own, with the certificate of Service ns/hook. */
async function webhook(reply: Reply) {
  const authority = await makeAuthority('hook');
  const tls = await issueServer(authority, 'hook.ns.svc', ['hook.ns.svc', '127.0.0.1']);
  const asked: Review['request'][] = [];
  const server: Server = createServer({ cert: tls.cert, key: tls.key }, (request, response) => {
    let body = '';
    request.on('data', (d) => (body += String(d)));
    request.on('end', () => {
      const review = JSON.parse(body) as Review;
      asked.push(review.request);
      const answer = reply(review);
      if (answer === 'silence') return;
      if (typeof answer === 'number') response.writeHead(answer).end('no');
      else response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))));
  return {
    asked,
    caBundle: Buffer.from(tls.ca).toString('base64'),
    port: (server.address() as AddressInfo).port,
    server,
  };
}

async function cluster(
  hook: { port: number; caBundle: string },
  given: Json = {},
  kind = 'ValidatingWebhookConfiguration',
) {
  const ops = new Operations({ serviceCIDRs: ['10.96.0.0/16'], families: [4] });
  for (const name of ['default', 'kube-system'])
    ops.create(ops.resources.kind('Namespace', ''), undefined, { metadata: { name, labels: { n: name } } });
  const call = webhookCaller(async (namespace, name) => {
    if (namespace !== 'ns' || name !== 'hook') throw new Error(`service "${namespace}/${name}" not found`);
    const socket = connect(hook.port, '127.0.0.1');
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return socket;
  });
  const requests = new Requests(ops, new Admission(ops.store, ops.resources, call));
  const configure = (...webhooks: Json[]) =>
    ops.create(ops.resources.kind(kind), undefined, {
      metadata: { name: 'hooks' },
      webhooks: webhooks.map((w, i) => ({
        name: `h${i}.example.dev`,
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
        timeoutSeconds: 1,
        failurePolicy: 'Fail',
        clientConfig: { service: { namespace: 'ns', name: 'hook', path: '/x' }, caBundle: hook.caBundle },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['*'], resources: ['configmaps'] }],
        ...w,
      })),
    });
  configure(given);
  const asking = (warnings: string[], dryRun: boolean) => ({
    user: { username: 'u', groups: ['g'] },
    warnings,
    dryRun,
  });
  const create = async (metadata: Json = {}, { dryRun = false } = {}) => {
    const warnings: string[] = [];
    const o = { metadata: { name: 'c', ...metadata }, data: { a: '1' } };
    try {
      const made = await requests.create(
        ops.resources.kind('ConfigMap'),
        String(metadata['namespace'] ?? 'default'),
        o,
        asking(warnings, dryRun),
      );
      return { made, warnings, refused: undefined, status: 200 };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return { made: undefined, warnings, refused: error.message, status: error.status };
    }
  };
  return { ops, create, requests, asking };
}

describe('a validating webhook', () => {
  test('allows, denies with its words and status, and warns either way', async () => {
    const hook = await webhook(({ request: { uid, name } }) =>
      reviewOf(
        name === 'bad'
          ? { uid, allowed: false, status: { code: 409, reason: 'Conflict', message: 'taken' }, warnings: ['no "b"'] }
          : { uid, allowed: true, warnings: ['mind'] },
      ),
    );
    const { create } = await cluster(hook);
    expect(await create({ name: 'bad' })).toMatchObject({
      refused: 'admission webhook "h0.example.dev" denied the request: taken',
      status: 409,
      warnings: ['no "b"'],
    });
    expect(await create()).toMatchObject({ refused: undefined, warnings: ['mind'] });
  });

  test.each<[string, Reply, RegExp]>([
    ['does not answer in time', () => 'silence', /context deadline exceeded/],
    ['answers 500', () => 500, /the server answered 500/],
    ['answers no JSON', () => 'well', /failed to call webhook/],
    ['answers something else', () => ({ kind: 'Status' }), /AdmissionReview/],
    ['answers another request', () => reviewOf({ uid: 'x', allowed: true }), /expected response.uid/],
  ])('that %s: failurePolicy decides', async (_, reply, reason) => {
    const hook = await webhook(reply);
    const closed = await (await cluster(hook)).create();
    expect(closed.refused).toMatch(
      /^Internal error occurred: failed calling webhook "h0.example.dev": failed to call webhook/,
    );
    expect(closed.refused).toMatch(reason);
    expect(closed.status).toBe(500);
    expect((await (await cluster(hook, { failurePolicy: 'Ignore' })).create()).refused).toBeUndefined();
  });

  test('that is not there, has another authority or another name: failurePolicy decides', async () => {
    const hook = await webhook(allow);
    const other = await webhook(allow);
    for (const clientConfig of [
      { service: { namespace: 'ns', name: 'nobody' }, caBundle: hook.caBundle },
      { service: { namespace: 'ns', name: 'hook' }, caBundle: other.caBundle },
      { service: { namespace: 'ns', name: 'hook' } },
      { url: 'https://192.0.2.1/', caBundle: hook.caBundle },
      { url: `http://127.0.0.1:${hook.port}/`, caBundle: hook.caBundle },
    ]) {
      expect((await (await cluster(hook, { clientConfig })).create()).refused).toMatch(/failed calling webhook/);
      expect((await (await cluster(hook, { clientConfig, failurePolicy: 'Ignore' })).create()).refused).toBeUndefined();
    }
    expect(hook.asked).toEqual([]);
    const byUrl = { clientConfig: { url: `https://127.0.0.1:${hook.port}/`, caBundle: hook.caBundle } };
    expect((await (await cluster(hook, byUrl)).create()).refused).toBeUndefined();
    expect(hook.asked).toHaveLength(1);
  });

  test('that was restarted between two calls is called again', async () => {
    const hook = await webhook(allow);
    const { create } = await cluster(hook);
    expect((await create({ name: 'one' })).refused).toBeUndefined();
    hook.server.closeAllConnections();
    expect((await create({ name: 'two' })).refused).toBeUndefined();
    expect(hook.asked.map((r) => r.name)).toEqual(['one', 'two']);
  });

  test('is asked only for what its selectors and conditions choose', async () => {
    const hook = await webhook(allow);
    const given = {
      namespaceSelector: { matchExpressions: [{ key: 'n', operator: 'NotIn', values: ['kube-system'] }] },
      objectSelector: { matchLabels: { watch: 'yes' } },
      matchConditions: [
        { name: 'm', expression: "object.?data.a.orValue('') == '1' && object.metadata.name != 'not-me'" },
      ],
    };
    const { create } = await cluster(hook, given);
    const labels = { watch: 'yes' };
    for (const metadata of [
      { name: 'a' },
      { name: 'b', labels, namespace: 'kube-system' },
      { name: 'not-me', labels },
      { name: 'me', labels },
    ])
      expect((await create(metadata)).refused).toBeUndefined();
    expect(hook.asked.map((r) => r.name)).toEqual(['me']);
  });

  test('whose condition cannot be evaluated: failurePolicy decides, without a call', async () => {
    const hook = await webhook(allow);
    const matchConditions = [{ name: 'm', expression: 'object.nope.x' }];
    expect((await (await cluster(hook, { matchConditions })).create()).refused).toMatch(
      /matchCondition 'm': .*resulted in error/,
    );
    expect(
      (await (await cluster(hook, { matchConditions, failurePolicy: 'Ignore' })).create()).refused,
    ).toBeUndefined();
    expect(hook.asked).toEqual([]);
  });

  test('sees dry runs when it has no side effects, and each operation once', async () => {
    const hook = await webhook(allow);
    const { create, requests, ops, asking } = await cluster(hook);
    await create({}, { dryRun: true });
    await create();
    const ref = { type: ops.resources.kind('ConfigMap'), namespace: 'default', name: 'c' };
    await requests.patch(ref, 'application/merge-patch+json', { data: { a: '2' } }, asking([], false));
    await requests.delete(ref, {}, asking([], false));
    expect(hook.asked.map((r) => [r.operation, r.dryRun])).toEqual([
      ['CREATE', true],
      ['CREATE', false],
      ['UPDATE', false],
      ['DELETE', false],
    ]);
  });

  test.each([
    [{ sideEffects: 'Some' }, /sideEffects/],
    [{ admissionReviewVersions: ['v1beta1'] }, /admissionReviewVersions/],
    [{ timeoutSeconds: 31 }, /between 1 and 30/],
    [{ name: 'short' }, /three segments/],
    [{ clientConfig: {} }, /exactly one of url or service/],
    [{ matchConditions: [{ name: 'm', expression: 'nope' }] }, /Unknown variable/],
  ])('%j is refused itself', async (given, message) => {
    const hook = await webhook(allow);
    await expect(cluster(hook, given)).rejects.toThrow(message);
  });
});

describe('a mutating webhook', () => {
  const patchOf = (patch: unknown) => Buffer.from(JSON.stringify(patch)).toString('base64');
  test('changes what is stored; what it makes is checked as any object is', async () => {
    const hook = await webhook(({ request: { uid, name } }) =>
      reviewOf({
        uid,
        allowed: true,
        patchType: 'JSONPatch',
        patch: patchOf([
          { op: 'add', path: '/metadata/labels', value: { team: name === 'bad' ? 'not a label!' : 'a' } },
        ]),
      }),
    );
    const { create } = await cluster(hook, {}, 'MutatingWebhookConfiguration');
    expect((await create()).made?.metadata.labels).toEqual({ team: 'a' });
    expect((await create({ name: 'bad' })).refused).toContain('no label value');
  });

  test('whose patch does not fit: an error, and nothing is stored', async () => {
    const hook = await webhook(({ request: { uid } }) =>
      reviewOf({ uid, allowed: true, patchType: 'JSONPatch', patch: patchOf([{ op: 'remove', path: '/nope/x' }]) }),
    );
    const { create, ops } = await cluster(hook, {}, 'MutatingWebhookConfiguration');
    expect((await create()).refused).toMatch(/cannot be applied/);
    expect(ops.store.list(ops.resources.kind('ConfigMap'))).toEqual([]);
  });
});
