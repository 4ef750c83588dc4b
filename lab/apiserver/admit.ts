import { checkPolicy } from './admission/policies.ts';
import { checkWebhooks } from './admission/webhooks.ts';
import { checkDefinition } from './objects/crd.ts';
import type { Problem } from './cel/rules.ts';
import { invalid } from './model/error.ts';
import { checkEndpointSlice } from './kinds/endpoint-slice.ts';
import { checkImmutable } from './kinds/immutable.ts';
import { checkNetworkPolicy, networkPolicyDefaults } from './kinds/network-policy.ts';
import { checkPodChange, checkPodSpec, podDefaults } from './kinds/pod.ts';
import { selectorProblems } from './kinds/selector.ts';
import { checkService, serviceDefaults, type ServiceRanges } from './kinds/service.ts';
import { arr, at, isObject, type Json, obj, str } from './model/path.ts';
import type { ResourceType } from './objects/resources.ts';
import { matchesSelector } from './objects/select.ts';

/** Fills in what an API server fills in, and refuses what it refuses: enough of both for networks, no more. */
export function admit(type: ResourceType, object: Json, before: Json | undefined, ranges: ServiceRanges): Json {
  const defaulted = withDefaults(type, object, before, ranges);
  const problems = [
    ...checkMeta(type, object),
    ...checkKind(type, defaulted, before, ranges),
    ...(before ? checkImmutable(type, defaulted, before) : []),
  ];
  if (problems.length > 0)
    throw invalid(
      type.group === '' ? type.kind : `${type.kind}.${type.group}`,
      str(at(object, 'metadata', 'name')),
      problems,
    );
  return defaulted;
}

const LABEL_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const STANDARD_FINALIZERS: ReadonlySet<unknown> = new Set(['kubernetes', 'orphan', 'foregroundDeletion']);
/** Kinds whose names become DNS labels. Those of Services begin with a letter. */
const SHORT_NAMED = new Set(['Namespace', 'Service']);

function checkMeta(type: ResourceType, object: Json): Problem[] {
  const metadata = obj(object['metadata']);
  const name = metadata['name'] ?? (metadata['generateName'] === undefined ? undefined : 'generated');
  if (typeof name !== 'string' || name === '') return [{ field: 'metadata.name', message: 'a name is required' }];
  const problems: Problem[] = [];
  const rbac = type.group === 'rbac.authorization.k8s.io';
  if (SHORT_NAMED.has(type.kind)) {
    if (!LABEL_NAME.test(name) || (type.kind === 'Service' && !/^[a-z]/.test(name)))
      problems.push({
        field: 'metadata.name',
        message: `"${name}" must be at most 63 lower-case letters, digits and '-', and begin with a letter${type.kind === 'Service' ? '' : ' or digit'} and end with a letter or digit`,
      });
  } else if (!rbac && (name.length > 253 || !SUBDOMAIN.test(name))) {
    problems.push({
      field: 'metadata.name',
      message: `"${name}" must be at most 253 lower-case letters, digits, '-' and '.'`,
    });
  }
  for (const [i, owner] of arr(metadata['ownerReferences']).entries())
    if (str(owner['uid']) === '')
      problems.push({ field: `metadata.ownerReferences[${i}].uid`, message: 'must not be empty' });
  for (const [i, finalizer] of (Array.isArray(metadata['finalizers']) ? metadata['finalizers'] : []).entries())
    if (!STANDARD_FINALIZERS.has(finalizer) && !String(finalizer).includes('/'))
      problems.push({
        field: `metadata.finalizers[${i}]`,
        message: `"${String(finalizer)}" is neither a standard finalizer name nor is it fully qualified`,
      });
  for (const field of ['labels', 'annotations']) {
    for (const [key, value] of Object.entries(obj(metadata[field]))) {
      const path = `metadata.${field}[${key}]`;
      if (typeof value !== 'string')
        problems.push({ field: path, message: `must be a string, not ${JSON.stringify(value)}: put quotes around it` });
      else if (field === 'labels' && !/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/.test(value))
        problems.push({ field: path, message: `"${value}" is no label value` });
      if (!/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(key))
        problems.push({
          field: path,
          message: `"${key}" is no key of at most 63 characters behind an optional prefix`,
        });
    }
  }
  return problems;
}

function withDefaults(type: ResourceType, object: Json, before: Json | undefined, ranges: ServiceRanges): Json {
  switch (type.kind) {
    case 'Namespace':
      return {
        ...object,
        metadata: {
          ...obj(object['metadata']),
          labels: {
            ...obj(at(object, 'metadata', 'labels')),
            'kubernetes.io/metadata.name': at(object, 'metadata', 'name'),
          },
        },
        status: object['status'] ?? { phase: 'Active' },
      };
    case 'Pod':
      return {
        ...object,
        spec: podDefaults(obj(object['spec'])),
        status: object['status'] ?? { phase: 'Pending', qosClass: 'BestEffort' },
      };
    case 'Service':
      return type.group === ''
        ? {
            ...object,
            spec: serviceDefaults(obj(object['spec']), obj(before?.['spec']), ranges),
            status: object['status'] ?? { loadBalancer: {} },
          }
        : object;
    case 'Deployment':
    case 'ReplicaSet':
    case 'StatefulSet':
      return { ...object, spec: { ...obj(object['spec']), replicas: at(object, 'spec', 'replicas') ?? 1 } };
    case 'EndpointSlice':
      return { ...object, endpoints: object['endpoints'] ?? [] };
    case 'NetworkPolicy':
      return type.group === 'networking.k8s.io'
        ? { ...object, spec: networkPolicyDefaults(obj(object['spec'])) }
        : object;
    case 'ValidatingAdmissionPolicy':
      return { ...object, spec: { failurePolicy: 'Fail', ...obj(object['spec']) } };
    case 'ValidatingWebhookConfiguration':
    case 'MutatingWebhookConfiguration':
      return { ...object, webhooks: arr(object['webhooks']).map((w) => ({ ...WEBHOOK_DEFAULTS, ...w })) };
    default:
      return object;
  }
}

const WEBHOOK_DEFAULTS = {
  failurePolicy: 'Fail',
  matchPolicy: 'Equivalent',
  timeoutSeconds: 10,
  namespaceSelector: {},
  objectSelector: {},
};

function checkKind(type: ResourceType, object: Json, before: Json | undefined, ranges: ServiceRanges): Problem[] {
  const spec = obj(object['spec']);
  switch (type.kind) {
    case 'Pod':
      return [...checkPodSpec(spec, 'spec'), ...(before ? checkPodChange(spec, obj(before['spec'])) : [])];
    case 'Service': {
      const { name, namespace } = obj(object['metadata']);
      return type.group === ''
        ? checkService(spec, before && obj(before['spec']), ranges, `${str(namespace)}/${str(name)}`)
        : [];
    }
    case 'NetworkPolicy':
      return ranges.strict && type.group === 'networking.k8s.io' ? checkNetworkPolicy(spec) : [];
    case 'EndpointSlice':
      return ranges.strict ? checkEndpointSlice(object, before) : [];
    case 'ConfigMap':
      return Object.entries(obj(object['data'])).flatMap(([key, value]) =>
        typeof value === 'string'
          ? []
          : [{ field: `data[${key}]`, message: `must be a string, not ${JSON.stringify(value)}` }],
      );
    case 'Deployment':
    case 'ReplicaSet':
    case 'StatefulSet':
    case 'DaemonSet':
      return checkWorkload(spec);
    case 'Job':
      return checkPodSpec(obj(at(spec, 'template', 'spec')), 'spec.template.spec');
    case 'CustomResourceDefinition':
      return [...checkDefinition(object)];
    case 'ValidatingAdmissionPolicy':
      return [...checkPolicy(object)];
    case 'ValidatingWebhookConfiguration':
    case 'MutatingWebhookConfiguration':
      return [...checkWebhooks(object)];
    default:
      return [];
  }
}

function checkWorkload(spec: Json): Problem[] {
  const labels = obj(at(spec, 'template', 'metadata', 'labels')) as Record<string, string>;
  const problems = checkPodSpec(obj(at(spec, 'template', 'spec')), 'spec.template.spec');
  const replicas = spec['replicas'];
  if (typeof replicas === 'number' && replicas < 0)
    problems.push({ field: 'spec.replicas', message: `${replicas} must be greater than or equal to 0` });
  if (!isObject(spec['selector'])) problems.push({ field: 'spec.selector', message: 'a selector is required' });
  else if (Object.keys(spec['selector']).length === 0)
    problems.push({ field: 'spec.selector', message: 'an empty selector is invalid' });
  else {
    problems.push(...selectorProblems(spec['selector'], 'spec.selector'));
    if (!matchesSelector(spec['selector'], labels))
      problems.push({ field: 'spec.template.metadata.labels', message: 'the selector does not match these labels' });
  }
  return problems;
}
