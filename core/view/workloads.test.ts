import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Raw } from '../read/objects.ts';
import { podsOfManifests } from './workloads.ts';

const template = { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'c' }] } };
const KINDS = [
  ['apps/v1', 'Deployment'],
  ['apps/v1', 'StatefulSet'],
  ['batch/v1', 'Job'],
  ['batch/v1', 'CronJob'],
  ['argoproj.io/v1alpha1', 'Rollout'],
  ['serving.knative.dev/v1', 'Service'],
  ['example.com/v1', 'Service'],
  ['v1', 'Pod'],
] as const;

function workload([apiVersion, kind]: (typeof KINDS)[number], name: string, namespace: string): Raw {
  const spec = kind === 'CronJob' ? { jobTemplate: { spec: { template } } } : kind === 'Pod' ? {} : { template };
  return { apiVersion, kind, metadata: { name, namespace }, spec };
}

/** "apps/v1 Deployment web": "x/web-deployment" */
function namesOf(objects: readonly Raw[]): Record<string, string> {
  const rows = podsOfManifests(objects).map((pod) => {
    const { namespace, name, ownerReferences } = pod['metadata'] as {
      namespace: string;
      name: string;
      ownerReferences?: { apiVersion: string; kind: string; name: string }[];
    };
    const [owner] = ownerReferences ?? [];
    const of = owner ? `${owner.apiVersion} ${owner.kind} ${owner.name}` : `v1 Pod ${name}`;
    return [`${namespace} ${of}`, `${namespace}/${name}`] as const;
  });
  return Object.fromEntries(rows);
}

const workloads = fc.uniqueArray(
  fc.tuple(fc.constantFrom(...KINDS), fc.constantFrom('a', 'a-job', 'a-service', 'b'), fc.constantFrom('x', 'y')),
  { selector: (row) => JSON.stringify(row), maxLength: 20 },
);

test('each workload has one pod, whose name is its own and does not depend on the order of files', () => {
  fc.assert(
    fc.property(workloads, fc.nat(), (rows, seed) => {
      const objects = rows.map(([kind, name, namespace]) => workload(kind, name, namespace));
      const names = namesOf(objects);
      expect(new Set(Object.values(names)).size).toBe(objects.length);
      const at = objects.length === 0 ? 0 : seed % objects.length;
      expect(namesOf([...objects.slice(at), ...objects.slice(0, at)].reverse())).toEqual(names);
    }),
  );
});

test('a name that is free is kept; those that run for long come first', () => {
  const objects = KINDS.map((kind) => workload(kind, 'web', 'x'));
  expect(namesOf(objects)).toEqual({
    'x v1 Pod web': 'x/web',
    'x apps/v1 Deployment web': 'x/web-deployment',
    'x apps/v1 StatefulSet web': 'x/web-statefulset',
    'x batch/v1 Job web': 'x/web-job',
    'x batch/v1 CronJob web': 'x/web-cronjob',
    'x argoproj.io/v1alpha1 Rollout web': 'x/web-rollout',
    'x example.com/v1 Service web': 'x/web-service',
    'x serving.knative.dev/v1 Service web': 'x/web-service-serving-knative-dev',
  });
  expect(namesOf(objects.slice(0, -1))).toMatchObject({ 'x apps/v1 Deployment web': 'x/web' });
});

test.each<[name: string, owner: Raw | undefined, pods: number]>([
  ['an owner that is not in the input', undefined, 1],
  ['an owner without a template', { apiVersion: 'example.com/v1', kind: 'App', metadata: { name: 'o' }, spec: {} }, 1],
  ['an owner that makes the pods', workload(['apps/v1', 'Deployment'], 'o', 'x'), 1],
])('%s: the pods are there once', (_, owner, pods) => {
  const owned = {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: 'o-1',
      namespace: 'x',
      ownerReferences: [
        {
          apiVersion: owner?.['apiVersion'] ?? 'gone/v1',
          kind: owner?.['kind'] ?? 'Gone',
          name: 'o',
          controller: true,
        },
      ],
    },
    spec: { replicas: 1, template },
  };
  const at = owner && { ...owner, metadata: { name: 'o', namespace: 'x' } };
  expect(podsOfManifests([owned, ...(at ? [at] : [])])).toHaveLength(pods);
});

test('no object breaks it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.dictionary(fc.constantFrom('kind', 'apiVersion', 'metadata', 'spec'), fc.anything())),
      (all) => {
        podsOfManifests(all);
      },
    ),
  );
});
