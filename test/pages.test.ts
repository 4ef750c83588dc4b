import { describe, expect, test } from 'vitest';
import { readPage } from './pages/commands.ts';
import { pages } from './pages/pages.ts';

describe('commands of a page', () => {
  test('are those of sh and console blocks, with what they print, in order', () => {
    const page = readPage(
      [
        '<!-- lab: examples/shops -->',
        '```sh',
        'kubectl get pods \\',
        '  -A   # all of them',
        '# a comment',
        'make help',
        '```',
        '```console',
        '$ ./bulkhead status',
        'nodes 3',
        '```',
        '```yaml',
        'apiVersion: v1',
        'kind: Namespace',
        '```',
        '```yaml',
        'spec: {}',
        '```',
        '```',
        'pod ── node',
        '```',
        '<!-- needs a cluster -->',
        '',
        '```sh',
        'helm install x',
        '```',
        'text <!-- not a marker -->',
        '<!-- ends with 28 3 -->',
        '```console',
        '$ a',
        '$ b',
        '```',
        '<!-- until stopped -->',
        '```sh',
        'kubectl get -w pods',
        '```',
      ].join('\n'),
    );
    expect(page.lab).toBe('examples/shops');
    expect(page.notRun).toEqual([{ command: 'helm install x', why: 'needs a cluster' }]);
    expect(page.steps).toEqual([
      { kind: 'run', line: 3, command: 'kubectl get pods -A', shown: [] },
      { kind: 'run', line: 6, command: 'make help', shown: [] },
      { kind: 'run', line: 9, command: './bulkhead status', shown: ['nodes 3'] },
      { kind: 'apply', line: 12, yaml: 'apiVersion: v1\nkind: Namespace' },
      { kind: 'run', line: 30, command: 'a', shown: [], code: 28 },
      { kind: 'run', line: 31, command: 'b', shown: [], code: 3 },
      { kind: 'run', line: 35, command: 'kubectl get -w pods', shown: [], untilStopped: true },
    ]);
  });
});

test('every page with commands says in which lab they are tried, or brings one up', () => {
  const without = [...pages()].flatMap(([file, { lab, steps }]) => {
    const [first] = steps;
    const own = first?.kind === 'run' && /^(make lab|\.\/bulkhead lab up)\b/.test(first.command);
    return first === undefined || own || lab !== undefined ? [] : [`${file}:${first.line}`];
  });
  expect(without).toEqual([]);
});

test('what is not tried is known, and why', () => {
  const not = [...pages()].flatMap(([file, page]) => page.notRun.map(({ command, why }) => [file, command, why]));
  expect(not.map((n) => n.join(' | '))).toMatchInlineSnapshot(`
    [
      "README.md | make test | it runs this test, too",
      "README.md | make kind | needs a cluster",
      "README.md | make kind-test | needs a cluster",
      "README.md | make kind-uninstall | needs a cluster",
      "README.md | kubectl bulkhead status | needs a cluster",
      "README.md | kubectl bulkhead reach -n shop-a | needs a cluster",
      "README.md | kubectl bulkhead isolate shop-flat --dry-run | needs a cluster",
      "docs/how-to/convert-admin-network-policies.md | kubectl get adminnetworkpolicies,baselineadminnetworkpolicies -o yaml | kubectl bulkhead policy convert -f - | needs a cluster",
      "docs/how-to/install.md | sed 's#image: bulkhead:.*#image: registry.example/bulkhead:1#' manifests/install.yaml | kubectl apply -f - | needs a cluster",
      "docs/how-to/install.md | kubectl -n kube-system rollout status daemonset/bulkhead-agent | needs a cluster",
      "docs/how-to/install.md | kubectl bulkhead status | needs a cluster",
      "docs/how-to/install.md | helm install bulkhead bulkhead-chart-0.1.0.tgz --set image.repository=registry.example/bulkhead --set-json 'bulkheadConfig={"subnets":{"pools":[{"prefixes":["10.64.0.0/10"]}]}}' | needs a cluster",
      "docs/how-to/upgrade-and-uninstall.md | kubectl apply -f manifests/crds | needs a cluster",
      "docs/how-to/upgrade-and-uninstall.md | kubectl apply -f manifests/install.yaml | needs a cluster",
      "docs/how-to/upgrade-and-uninstall.md | kubectl -n kube-system rollout status daemonset/bulkhead-agent | needs a cluster",
      "docs/how-to/upgrade-and-uninstall.md | KIND_KUBECONFIG="$HOME/.kube/config" IMAGE=registry.example/bulkhead:1 hack/kind/uninstall.sh | needs a cluster",
      "docs/reference/budgets.md | kubectl describe svc -n shop wide | needs a Service with 300 ports",
      "docs/reference/operations.md | curl -sk -H "Authorization: Bearer $TOKEN" https://NODE:9443/metrics | needs a cluster",
      "docs/reference/operations.md | kubectl -n kube-system set env daemonset/bulkhead-agent BULKHEAD_LOG_LEVEL=debug | needs a cluster",
    ]
  `);
});
