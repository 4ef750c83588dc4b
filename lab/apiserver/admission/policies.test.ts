import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readManifests } from '../../../lib/manifests/read.ts';
import { ApiError } from '../model/error.ts';
import { Operations } from '../operations.ts';
import type { Json } from '../model/path.ts';
import { Requests } from '../requests.ts';
import { Admission } from './admission.ts';

const root = join(import.meta.dirname, '../../..');
const GROUP = 'admissionregistration.k8s.io';
const noCalls = () => Promise.reject(new Error('no webhook was to be called'));

/** An API server without HTTP, and what its admission told the audit. */
function cluster(...manifests: readonly Json[]) {
  const ops = new Operations({ serviceCIDRs: ['10.96.0.0/16'], families: [4] });
  const audits: string[] = [];
  const requests = new Requests(ops, new Admission(ops.store, ops.resources, noCalls, (m) => audits.push(m)));
  const make = (o: Json): unknown => {
    const [group = ''] = String(o['apiVersion']).includes('/') ? String(o['apiVersion']).split('/') : [''];
    const { namespace } = o['metadata'] as { namespace?: string };
    return ops.create(ops.resources.kind(String(o['kind']), group), namespace, o);
  };
  for (const name of ['default', 'kube-system']) make({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  for (const o of manifests) make(o);
  const user = { username: 'admin', groups: ['system:masters'] };
  /** What became of a creation: "created", or the refusal; with warnings. */
  const create = async (o: Json, { username = 'admin', dryRun = false } = {}) => {
    const [group = ''] = String(o['apiVersion']).includes('/') ? String(o['apiVersion']).split('/') : [''];
    const { namespace } = o['metadata'] as { namespace?: string };
    const warnings: string[] = [];
    return outcome(warnings, async () => {
      await requests.create(ops.resources.kind(String(o['kind']), group), namespace, o, {
        user: { ...user, username },
        warnings,
        dryRun,
      });
    });
  };
  return { ops, requests, user, create, audits };
}

async function outcome(warnings: readonly string[], work: () => Promise<unknown>) {
  try {
    await work();
    return { refused: undefined, status: 200, warnings };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return { refused: error.message, status: error.status, warnings };
  }
}

const policy = (spec: Json, name = 'p'): Json => ({
  apiVersion: `${GROUP}/v1`,
  kind: 'ValidatingAdmissionPolicy',
  metadata: { name },
  spec: { matchConstraints: { resourceRules: [EVERY_CONFIG_MAP] }, ...spec },
});
const EVERY_CONFIG_MAP = {
  apiGroups: [''],
  apiVersions: ['v1'],
  operations: ['*'],
  resources: ['configmaps'],
};
const binding = (spec: Json = {}, policyName = 'p'): Json => ({
  apiVersion: `${GROUP}/v1`,
  kind: 'ValidatingAdmissionPolicyBinding',
  metadata: { name: `${policyName}-binding` },
  spec: { policyName, validationActions: ['Deny'], ...spec },
});
const configMap = (data: Json = {}, metadata: Json = {}): Json => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'c', namespace: 'default', ...metadata },
  data,
});
const pod = (annotations: Json, namespace = 'default'): Json => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace, annotations },
  spec: { containers: [{ name: 'c', image: 'x' }] },
});
const namespace = (metadata: Json): Json => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'n', ...metadata },
});

describe('the policies of manifests/admission', () => {
  const ours = readManifests(join(root, 'manifests/admission/policies.yaml'));
  const crds = readManifests(join(root, 'manifests/crds'));

  test.each<[string, Json, string | undefined]>([
    ['isolated', namespace({ labels: { 'bulkhead.dev/isolated': 'true' } }), undefined],
    ['not isolated', namespace({ labels: { 'bulkhead.dev/isolated': 'false' } }), undefined],
    ['without labels', namespace({}), undefined],
    ['a word that is neither', namespace({ labels: { 'bulkhead.dev/isolated': 'yes' } }), 'must be "true" or "false"'],
    [
      'the same of CN2',
      namespace({ labels: { 'core.juniper.net/isolated-namespace': 'on' } }),
      'must be "true" or "false"',
    ],
    ['a network', namespace({ annotations: { 'bulkhead.dev/network': 'a/b' } }), undefined],
    ['no network', namespace({ annotations: { 'bulkhead.dev/network': 'a/b/c' } }), '"name" or "namespace/name"'],
    ['a pod with a network', pod({ 'bulkhead.dev/network': 'b' }), undefined],
    ['a pod without', pod({}), undefined],
    ['a pod with none', pod({ 'net.juniper.contrail.podnetwork': 'A' }), '"name" or "namespace/name"'],
    ['a pod of the system', pod({ 'bulkhead.dev/network': 'A' }, 'kube-system'), undefined],
  ])('%s', async (_, object, refusal) => {
    const { create } = cluster(...crds, ...ours);
    const { refused, status } = await create(object);
    if (refusal === undefined) expect(refused).toBeUndefined();
    else {
      expect(refused).toContain(refusal);
      expect(refused).toContain('denied request');
      expect(status).toBe(422);
    }
  });

  test('an old mistake keeps no one from editing the rest; a new one is refused', async () => {
    const { ops, requests, user } = cluster(
      ...crds,
      namespace({ labels: { 'bulkhead.dev/isolated': 'yes' } }),
      ...ours,
    );
    const ref = { type: ops.resources.kind('Namespace', ''), name: 'n' };
    const patch = (labels: Json) =>
      outcome([], () =>
        requests.patch(ref, 'application/merge-patch+json', { metadata: { labels } }, { user, warnings: [] }),
      );
    expect((await patch({ team: 'a' })).refused).toBeUndefined();
    expect((await patch({ 'bulkhead.dev/isolated': 'no' })).refused).toContain('must be "true" or "false"');
    expect((await patch({ 'bulkhead.dev/isolated': 'true' })).refused).toBeUndefined();
  });

  test('address blocks are the controller’s; every user may delete them', async () => {
    const { ops, create, requests, user } = cluster(...crds, ...ours);
    const block = {
      apiVersion: 'bulkhead.dev/v1alpha1',
      kind: 'AddressBlock',
      metadata: { name: 'b' },
      spec: { network: { namespace: 'a', name: 'b' }, cidr: '10.0.0.0/26', node: 'n1' },
    };
    const type = ops.resources.kind('AddressBlock');
    expect((await create(block)).refused).toContain('written by the Bulkhead controller only');
    const { refused } = await create(block, { username: 'system:serviceaccount:kube-system:bulkhead-controller' });
    expect(refused ?? '').not.toContain('controller only');
    ops.store.create(type, { ...block, metadata: { name: 'c' } });
    await requests.delete({ type, name: 'c' }, {}, { user, warnings: [] });
    expect(ops.store.get(type, undefined, 'c')).toBeUndefined();
  });
});

describe('the token of the controller', () => {
  const controller = 'system:serviceaccount:kube-system:bulkhead-controller';
  const named = { name: 'p', namespace: 'default' };
  const object = { apiVersion: 'v1', kind: 'Pod', metadata: named, spec: { containers: [{ name: 'c', image: 'x' }] } };
  const STATUS = 'k8s.v1.cni.cncf.io/network-status';

  test.each<[string, string, Json, boolean]>([
    ['Pod', controller, { annotations: { [STATUS]: '[]' } }, true],
    ['Pod', controller, { annotations: { [STATUS]: '[]', 'bulkhead.dev/network': 'b/default' } }, false],
    ['Pod', controller, { labels: { app: 'web' } }, false],
    ['Pod', 'admin', { labels: { app: 'web' } }, true],
    ['Namespace', controller, { labels: { 'bulkhead.dev/isolated': 'true' } }, true],
    ['Namespace', controller, { labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } }, false],
    ['Namespace', 'admin', { labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } }, true],
  ])('%s, by %s, %j: %s', async (kind, username, metadata, allowed) => {
    const own = readManifests(join(root, 'manifests/admission/controller.yaml'));
    const { ops, requests } = cluster(...own, object);
    const ref = { type: ops.resources.kind(kind, ''), ...(kind === 'Pod' ? named : { name: 'default' }) };
    const { refused } = await outcome([], () =>
      requests.patch(
        ref,
        'application/merge-patch+json',
        { metadata },
        { user: { username, groups: [] }, warnings: [] },
      ),
    );
    if (allowed) expect(refused).toBeUndefined();
    else expect(refused).toMatch(/the Bulkhead controller (writes only|only isolates)/);
  });
});

describe('a ValidatingAdmissionPolicy', () => {
  const validations = [{ expression: "object.data.?a.orValue('') != 'bad'", message: 'a is bad' }];
  const [bad, good] = [configMap({ a: 'bad' }), configMap({ a: 'good' })];

  test('without a binding does nothing', async () => {
    const { create } = cluster(policy({ validations }));
    expect((await create(bad)).refused).toBeUndefined();
  });

  test('denies, warns, audits as its binding says', async () => {
    for (const [actions, refused, warned, audited] of [
      [['Deny'], true, 0, 0],
      [['Warn'], false, 1, 0],
      [['Audit'], false, 0, 1],
      [['Warn', 'Audit'], false, 1, 1],
    ] as const) {
      const { create, audits } = cluster(policy({ validations }), binding({ validationActions: actions }));
      const result = await create(bad);
      expect([result.refused !== undefined, result.warnings.length, audits.length]).toEqual([refused, warned, audited]);
      const { create: again } = cluster(policy({ validations }), binding({ validationActions: actions }));
      expect(await again(good)).toMatchObject({ refused: undefined, warnings: [] });
    }
  });

  test.each<[string, Json]>([
    ['a field that is missing', { validations: [{ expression: 'object.data.nope == "x"' }] }],
    ['types that do not fit', { validations: [{ expression: 'object.data + 1 == 2' }] }],
    ['a result that is no bool', { validations: [{ expression: 'object.data.a' }] }],
    ['a regular expression that is none', { validations: [{ expression: 'object.data.a.matches("(")' }] }],
    ['a condition', { matchConditions: [{ name: 'm', expression: 'object.nope.x' }], validations }],
    [
      'a variable',
      { variables: [{ name: 'v', expression: 'object.nope.x' }], validations: [{ expression: 'variables.v == 1' }] },
    ],
  ])('that cannot be judged because of %s: failurePolicy decides, never the accident', async (_, spec) => {
    const strict = await cluster(policy(spec), binding()).create(good);
    expect(strict.refused).toMatch(/denied request: .*(resulted in error|must evaluate to bool)/);
    const warnOnly = await cluster(policy(spec), binding({ validationActions: ['Warn'] })).create(good);
    expect(warnOnly.refused).toBeDefined();
    const open = await cluster(policy({ ...spec, failurePolicy: 'Ignore' }), binding()).create(good);
    expect(open).toMatchObject({ refused: undefined, warnings: [] });
  });

  test.each([
    ['objectt.x == 1', /Unknown variable: objectt/],
    ['variables.nope == 1', /undefined field 'nope'/],
    ["'a'", /must evaluate to bool/],
    ['1 +', /compilation failed/],
    ['nosuch(object)', /compilation failed/],
    ['', /an expression is required/],
    [undefined, /an expression is required/],
  ])('with the expression %s is refused itself', (expression, message) => {
    expect(() => cluster(policy({ validations: [{ expression }] }))).toThrow(message);
  });

  test('asks its conditions first: one that is false settles it, whatever the others are', async () => {
    const never = { name: 'never', expression: 'false' };
    const broken = { name: 'broken', expression: 'object.nope.x' };
    for (const matchConditions of [[never, broken], [broken, never], [never]])
      expect((await cluster(policy({ matchConditions, validations }), binding()).create(bad)).refused).toBeUndefined();
    const always = [
      { name: 'always', expression: "request.operation == 'CREATE' && request.userInfo.username == 'admin'" },
    ];
    expect(
      (await cluster(policy({ matchConditions: always, validations }), binding()).create(bad)).refused,
    ).toBeDefined();
  });

  test('evaluates variables when they are used, and each may use those before it', async () => {
    const variables = [
      { name: 'unused', expression: 'object.nope.x' },
      { name: 'a', expression: 'object.data.a' },
      { name: 'loud', expression: "variables.a + '!'" },
    ];
    const spec = {
      variables,
      validations: [{ expression: "variables.loud != 'bad!'", messageExpression: "'it is ' + variables.loud" }],
    };
    expect((await cluster(policy(spec), binding()).create(bad)).refused).toContain('it is bad!');
    expect((await cluster(policy(spec), binding()).create(good)).refused).toBeUndefined();
  });

  test('refuses with the status of its reason, and with its expression when it has no message', async () => {
    for (const [reason, status] of [
      ['Unauthorized', 401],
      ['Forbidden', 403],
      ['RequestEntityTooLarge', 413],
      [undefined, 422],
    ] as const) {
      const spec = { validations: [{ expression: 'object.data.a == "good"', ...(reason ? { reason } : {}) }] };
      const result = await cluster(policy(spec), binding()).create(bad);
      expect(result.status).toBe(status);
      expect(result.refused).toContain('failed expression: object.data.a == "good"');
    }
  });

  test('reads its parameters from the object that the binding names; without it, parameterNotFoundAction decides', async () => {
    const spec = {
      paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
      validations: [{ expression: 'object.data.a != params.data.forbidden' }],
    };
    const constraints = {
      matchConstraints: {
        resourceRules: [EVERY_CONFIG_MAP],
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'default' } },
      },
    };
    const params = configMap({ forbidden: 'bad' }, { name: 'rules', namespace: 'kube-system' });
    const paramRef = { name: 'rules', namespace: 'kube-system', parameterNotFoundAction: 'Deny' };
    const with_ = (...more: Json[]) => cluster(policy({ ...spec, ...constraints }), binding({ paramRef }), ...more);
    expect((await with_(params).create(bad)).refused).toBeDefined();
    expect((await with_(params).create(good)).refused).toBeUndefined();
    expect((await with_().create(good)).refused).toContain('no params found');
    const allowed = cluster(
      policy({ ...spec, ...constraints }),
      binding({ paramRef: { ...paramRef, parameterNotFoundAction: 'Allow' } }),
    );
    expect((await allowed.create(bad)).refused).toBeUndefined();
  });

  test('sees the namespace of the object', async () => {
    const spec = { validations: [{ expression: "namespaceObject.metadata.name == 'kube-system'" }] };
    expect((await cluster(policy(spec), binding()).create(good)).refused).toBeDefined();
    const there = configMap({}, { namespace: 'kube-system' });
    expect((await cluster(policy(spec), binding()).create(there)).refused).toBeUndefined();
  });

  test('judges a dry run too, and leaves no object', async () => {
    const { create, ops } = cluster(policy({ validations }), binding());
    expect((await create(bad, { dryRun: true })).refused).toBeDefined();
    expect((await create(good, { dryRun: true })).refused).toBeUndefined();
    expect(ops.store.list(ops.resources.kind('ConfigMap'))).toEqual([]);
  });

  test('never judges policies and their bindings: a policy that refuses all can be removed', async () => {
    const everything = {
      matchConstraints: {
        resourceRules: [{ apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*'] }],
      },
      validations: [{ expression: 'false' }],
    };
    const { create, ops, requests, user } = cluster(policy(everything), binding());
    expect((await create(good)).refused).toBeDefined();
    expect((await create(policy({ validations }, 'other'))).refused).toBeUndefined();
    const type = ops.resources.kind('ValidatingAdmissionPolicyBinding');
    await requests.delete({ type, name: 'p-binding' }, {}, { user, warnings: [] });
    expect((await create(good)).refused).toBeUndefined();
  });

  test('judges what is stored: a write that comes between is judged with it', async () => {
    const immutable = {
      validations: [{ expression: 'object.data.a == oldObject.data.a' }],
      matchConditions: [{ name: 'u', expression: "request.operation == 'UPDATE'" }],
    };
    const { ops, requests, user } = cluster(good, policy(immutable), binding());
    const ref = { type: ops.resources.kind('ConfigMap'), namespace: 'default', name: 'c' };
    const patch = (data: Json) =>
      outcome([], () => requests.patch(ref, 'application/merge-patch+json', { data }, { user, warnings: [] }));
    const results = await Promise.all([patch({ b: '1' }), patch({ c: '1' }), patch({ a: 'bad' }), patch({ d: '1' })]);
    expect(results.map((r) => r.refused === undefined)).toEqual([true, true, false, true]);
    expect(ops.store.must(ref.type, 'default', 'c')['data']).toEqual({ a: 'good', b: '1', c: '1', d: '1' });
  });
});
