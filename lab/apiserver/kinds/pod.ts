import type { Problem } from '../cel/rules.ts';
import { sameValue } from '../cel/values.ts';
import { arr, at, type Json, obj, str } from '../model/path.ts';
import { checkProtocol, duplicates, isPort } from './port.ts';

const PROBE_DEFAULTS = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 };

export function podDefaults(spec: Json): Json {
  const containers = Array.isArray(spec['containers'])
    ? arr(spec['containers']).map(containerDefaults)
    : spec['containers'];
  return {
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    serviceAccountName: 'default',
    terminationGracePeriodSeconds: 30,
    ...spec,
    containers,
  };
}

function containerDefaults(c: Json): Json {
  const probes = ['startupProbe', 'readinessProbe', 'livenessProbe'].flatMap((p) =>
    c[p] === undefined ? [] : [[p, { ...PROBE_DEFAULTS, ...obj(c[p]) }]],
  );
  const ports = c['ports'] === undefined ? {} : { ports: arr(c['ports']).map((p) => ({ protocol: 'TCP', ...p })) };
  return { ...c, ...ports, ...Object.fromEntries(probes) };
}

/** What is wrong with the spec of a pod, or of a template at `path`. */
export function checkPodSpec(spec: Json, path: string): Problem[] {
  const containers = arr(spec['containers']);
  if (containers.length === 0) return [{ field: `${path}.containers`, message: 'at least one container is required' }];
  const all = [...containers, ...arr(spec['initContainers'])];
  const hostPorts = containers
    .flatMap((c) => arr(c['ports']))
    .map((p) =>
      p['hostPort'] === undefined || p['hostPort'] === 0
        ? undefined
        : `${str(p['protocol']) || 'TCP'}/${str(p['hostIP'])}/${String(p['hostPort'])}`,
    );
  return [
    ...containers.flatMap((c, i) => checkContainer(c, `${path}.containers[${i}]`, spec['hostNetwork'] === true)),
    ...duplicates(
      all.map((c) => str(c['name'])),
      (i) => `${path}.containers[${i}].name`,
    ),
    ...duplicates(hostPorts, () => `${path}.containers[*].ports[*].hostPort`),
  ];
}

/** A pod is what it was made as, but for its images and a few limits. The scheduler binds it by another way. */
export function checkPodChange(spec: Json, before: Json): Problem[] {
  if (arr(spec['containers']).length !== arr(before['containers']).length)
    return [{ field: 'spec.containers', message: 'pod updates may not add or remove containers' }];
  if (str(at(before, 'nodeName')) !== '' && before['nodeName'] !== spec['nodeName'])
    return [{ field: 'spec.nodeName', message: 'a pod never changes its node' }];
  return sameValue(fixed(spec), fixed(before))
    ? []
    : [
        {
          field: 'spec',
          message:
            'pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations`, `spec.terminationGracePeriodSeconds`',
        },
      ];
}

function fixed(spec: Json): Json {
  const {
    activeDeadlineSeconds: _a,
    tolerations: _t,
    terminationGracePeriodSeconds: _g,
    schedulingGates: _s,
    ...rest
  } = spec;
  const withoutImages = (list: unknown): unknown => arr(list).map((c) => ({ ...c, image: undefined }));
  return JSON.parse(
    JSON.stringify({
      ...rest,
      containers: withoutImages(rest['containers']),
      initContainers: withoutImages(rest['initContainers']),
    }),
  ) as Json;
}

function checkContainer(c: Json, path: string, onHost: boolean): Problem[] {
  const problems: Problem[] = [];
  if (str(c['name']) === '') problems.push({ field: `${path}.name`, message: 'a name is required' });
  else if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(str(c['name'])))
    problems.push({
      field: `${path}.name`,
      message: `"${str(c['name'])}" must be at most 63 lower-case letters, digits and '-', and begin and end with a letter or digit`,
    });
  if (str(c['image']) === '') problems.push({ field: `${path}.image`, message: 'a value is required' });
  for (const [j, p] of arr(c['ports']).entries()) {
    if (!isPort(p['containerPort']))
      problems.push({
        field: `${path}.ports[${j}].containerPort`,
        message: `${JSON.stringify(p['containerPort'])} is no port from 1 to 65535`,
      });
    if (onHost && p['hostPort'] !== undefined && p['hostPort'] !== p['containerPort'])
      problems.push({
        field: `${path}.ports[${j}].hostPort`,
        message: `${JSON.stringify(p['hostPort'])} must match \`containerPort\` when \`hostNetwork\` is true`,
      });
    problems.push(...checkProtocol(p, `${path}.ports[${j}].protocol`));
  }
  return problems;
}
