import { expect, test } from 'vitest';
import { KubectlError } from '../target/kubectl-target.ts';
import { foreignPolicies } from './foreign.ts';

const answers: Readonly<Record<string, string>> = {
  'get customresourcedefinitions -o name': [
    'customresourcedefinition.apiextensions.k8s.io/ciliumnetworkpolicies.cilium.io',
    'customresourcedefinition.apiextensions.k8s.io/clusternetworkpolicies.policy.networking.k8s.io',
    'customresourcedefinition.apiextensions.k8s.io/clusternetworkpolicies.crd.antrea.io',
    'customresourcedefinition.apiextensions.k8s.io/virtualnetworks.bulkhead.dev',
    '',
  ].join('\n'),
  'get ciliumnetworkpolicies.cilium.io -A -o json':
    '{"items":[{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy"}]}',
  'get clusternetworkpolicies.crd.antrea.io -A -o json': '{"items":[]}',
};

test('the policies of a cluster that Bulkhead does not enforce', async () => {
  const kubectl = (args: readonly string[]): Promise<string> => Promise.resolve(answers[args.join(' ')] ?? 'not asked');
  expect(await foreignPolicies({ kubectl })).toEqual({
    objects: [{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy' }],
  });
});

test('where they cannot be listed, the reason', async () => {
  const kubectl = (): Promise<string> => Promise.reject(new KubectlError('Failed', 'forbidden', undefined));
  expect(await foreignPolicies({ kubectl })).toEqual({
    objects: [],
    problem: 'cannot tell whether there are policies of other kinds: forbidden',
  });
});
