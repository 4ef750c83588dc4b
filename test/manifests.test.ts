import { join } from 'node:path';
import { expect, test } from 'vitest';
import { policyKey } from '../core/cluster/policy.ts';
import { fromManifests, isUnknownAddress, type Manifests } from '../core/view/from-manifests.ts';
import { gatherManifests, type Located } from '../lib/manifests/read.ts';

// Folders as people have them, in test/manifests: what each of them is read as.

const folder = join(import.meta.dirname, 'manifests');

/** What a folder is read as. What a row leaves out is expected to be empty. */
type Row = {
  /** The folder in test/manifests, and in it the one that is given. */
  readonly shape: string;
  readonly namespace?: string;
  /** "namespace/name label=value…" */
  readonly pods?: readonly string[];
  /** policyKey, and how many rules are in each direction: "in 1, out -" */
  readonly policies?: readonly string[];
  /** "namespace/name port→pod:port…" */
  readonly services?: readonly string[];
  readonly notJudged?: readonly string[];
  readonly skipped?: readonly string[];
  readonly notes?: readonly string[];
  readonly problems?: readonly string[];
};

const SHAPES: readonly Row[] = [
  {
    shape: 'lists',
    pods: ['shop/db-1 app=db', 'shop/web-1 app=web'],
    policies: ['NetworkPolicy shop/db: in 1, out -'],
  },
  { shape: 'kustomize-base', pods: ['shop/web app=web'], policies: ['NetworkPolicy shop/web: in 1, out -'] },
  {
    shape: 'kustomize-tree',
    pods: ['prod/web app=web,tier=front'],
    policies: ['NetworkPolicy prod/front: in 0, out -'],
  },
  { shape: 'kustomize-tree/base', pods: ['default/web app=web'] },
  {
    shape: 'kustomize-two-overlays',
    pods: ['default/web '],
    problems: [
      'Pod default/web is there twice: kustomize-two-overlays/dev (kustomize):1 and kustomize-two-overlays/prod (kustomize):1',
    ],
  },
  {
    shape: 'rendered-chart',
    namespace: 'rel-ns',
    pods: ['rel-ns/shop app=shop'],
    policies: ['NetworkPolicy rel-ns/shop: in 1, out -'],
    services: ['rel-ns/shop 8080→shop:80'],
  },
  { shape: 'operator-made', pods: ['monitoring/adapter app=adapter', 'monitoring/prometheus-k8s app=prometheus'] },
  {
    shape: 'merge-keys',
    pods: ['default/api app=api,part-of=shop', 'default/web app=web,part-of=shop,tier=front'],
    policies: ['NetworkPolicy default/front: in 1, out -'],
  },
  { shape: 'crds', pods: ['default/a '] },
  {
    shape: 'beside',
    pods: ['default/web '],
    skipped: [
      '.github/workflows/ci.yaml',
      'Chart.yaml:1',
      'broken.yaml',
      'docker-compose.yml',
      'list.yaml',
      'package.json',
      'values.yaml',
    ],
  },
  { shape: 'rollout', pods: ['default/api app=api', 'default/web app=web'] },
  { shape: 'deployment-config', pods: ['default/web app=web'] },
  {
    shape: 'templates',
    pods: [
      'default/hello app=hello',
      'default/ray-headgroup role=head',
      'default/ray-small role=worker',
      'default/scaled ',
      'default/train app=train',
    ],
  },
  { shape: 'from-a-cluster', pods: ['shop/idle app=idle', 'shop/web-7d9f-x1 app=web,pod-template-hash=7d9f'] },
  { shape: 'comments', pods: ['default/a ', 'default/b '] },
  {
    shape: 'windows',
    pods: ['default/a app=a', 'default/b '],
    policies: ['NetworkPolicy default/a: in 0, out -'],
  },
  { shape: 'tabs', pods: ['default/a app=a'], policies: ['NetworkPolicy default/a: in 0, out 0'] },
  {
    shape: 'nulls',
    pods: ['default/web app=web'],
    policies: ['NetworkPolicy default/open: in 1, out -'],
    services: ['default/web 80→web:80'],
  },
  {
    shape: 'same-names',
    pods: ['default/web app=web', 'default/web-cronjob app=backup', 'other/web app=web'],
    policies: ['NetworkPolicy default/web: in 0, out -'],
    services: ['default/web 80→web:80'],
  },
  {
    shape: 'duplicates',
    policies: ['NetworkPolicy x/p: in 1, out -'],
    problems: ['NetworkPolicy x/p is there twice: duplicates/a.yaml:1 and duplicates/b.yaml:5'],
  },
  { shape: 'generate-name', pods: ['x/load-1 app=load', 'x/load-2 app=load', 'x/probe-1 '] },
  {
    shape: 'foreign',
    policies: ['NetworkPolicy shop/own: in 0, out -'],
    notJudged: [
      '1 NetworkPolicy projectcalico.org/v3',
      '1 GlobalNetworkPolicy projectcalico.org/v3',
      '2 CiliumNetworkPolicy cilium.io/v2',
      '1 CiliumClusterwideNetworkPolicy cilium.io/v2',
      '1 ClusterNetworkPolicy crd.antrea.io/v1beta1',
      '1 NetworkPolicy extensions/v1beta1',
      '1 NetworkPolicy v1',
      '1 AuthorizationPolicy security.istio.io/v1',
      '1 AdminNetworkPolicy policy.networking.k8s.io/v1alpha1',
    ],
    notes: [expect.stringMatching(/foreign\/all.yaml:39: AdminNetworkPolicy not-valid: spec.ingress\[0\].action: /)],
  },
  {
    shape: 'admin-network-policies',
    policies: ['ClusterNetworkPolicy tenants: in 2, out -', 'ClusterNetworkPolicy baseline-default: in -, out 1'],
    notes: [
      expect.stringMatching(/all.yaml:1: AdminNetworkPolicy tenants is read as a ClusterNetworkPolicy/),
      expect.stringMatching(/all.yaml:11: BaselineAdminNetworkPolicy default is read as a ClusterNetworkPolicy/),
    ],
  },
  {
    shape: 'oddities',
    pods: ['default/a app=b', 'default/web app=web'],
    notes: [
      expect.stringMatching(/all.yaml:16: this key is there already: the last one counts/),
      expect.stringMatching(/all.yaml:1: Template shop: its objects are not read/),
      'oddities/all.yaml:8: Deployment web: label version is ignored: 1 is no string, put it in quotes',
      'oddities/all.yaml:8: Deployment web: label enabled is ignored: true is no string, put it in quotes',
    ],
  },
  { shape: 'json-stream', pods: ['default/a ', 'default/b '] },
  {
    shape: 'services',
    pods: ['default/v1 app=web,v=1', 'default/v2 app=web,v=2'],
    services: [
      'default/by-hand ',
      'default/elsewhere ',
      'default/headless 80→v1:8080',
      'default/sliced 80→203.0.113.7:80',
      'default/web 80→v1:8080,v2:9090 9000→v1:9000,v2:9000',
    ],
  },
];

test.each(SHAPES)('$shape', async ({ shape, namespace, ...expected }) => {
  const { objects, skipped, warnings } = await gatherManifests([join(folder, shape)]);
  const read = fromManifests(objects, namespace === undefined ? {} : { namespace });
  expect({
    pods: podsOf(read),
    policies: policiesOf(read),
    services: servicesOf(read),
    notJudged: read.notJudged.map((n) => `${n.places.length} ${n.kind} ${n.apiVersion}`),
    skipped: skipped.map((s) => s.replace(`${folder}/${shape}/`, '')),
    notes: [...warnings, ...read.notes].map(short),
    problems: read.problems.map(short),
  }).toEqual({
    pods: [],
    policies: [],
    services: [],
    notJudged: [],
    skipped: [],
    notes: [],
    problems: [],
    ...expected,
  });
  // What a policy says was read without a doubt.
  expect([...(read.state.policies?.values() ?? [])].flatMap((p) => p.problems)).toEqual([]);
});

const short = (text: string): string => text.replaceAll(`${folder}/`, '');

const podsOf = ({ state }: Manifests<Located>): string[] =>
  [...state.pods]
    .map(
      ([key, { labels }]) =>
        `${key} ${Object.entries(labels)
          .sort()
          .map((l) => l.join('='))
          .join(',')}`,
    )
    .sort();

const policiesOf = ({ state }: Manifests<Located>): string[] =>
  [...(state.policies?.values() ?? [])].map(
    (p) => `${policyKey(p)}: in ${p.ingress?.length ?? '-'}, out ${p.egress?.length ?? '-'}`,
  );

/** Of each Service its ports, and what is behind them by IPv4. Those of a cluster have addresses of both families. */
function servicesOf({ state }: Manifests<Located>): string[] {
  const lines = [...state.services].map(([key, service]) => {
    const slices = [...state.slices.values()].filter(
      (s) => s.service === service.name && s.namespace === service.namespace && s.family === 4,
    );
    const ports = service.ports.flatMap(({ name, port }) => {
      const behind = slices.flatMap((s) => {
        const own = s.ports.find((p) => p.name === name)?.port;
        return own === undefined
          ? []
          : s.endpoints.map((e) => `${isUnknownAddress(e.ip) ? e.pod.split('/')[1] : e.ip}:${own}`);
      });
      return behind.length > 0 ? [`${port}→${behind.sort().join(',')}`] : [];
    });
    return `${key} ${ports.join(' ')}`;
  });
  return lines.sort();
}
