/**
 * What a user of the Helm chart may set, and where it stands in the manifests. A place is an object and a path in it; the chart has the
 * same objects with these places taken from values.yaml, whose defaults are what the manifests say.
 */

export type Place = {
  /** "Kind/name" of the object. */
  readonly object: string;
  readonly path: readonly (string | number)[];
  /** Path of the value in values.yaml. */
  readonly value: string;
  /** `list`: the value is appended to what the manifest has. Otherwise it stands in its place. */
  readonly append?: true;
};

const AGENT = 'DaemonSet/bulkhead-agent';
const CONTROLLER = 'Deployment/bulkhead-controller';
const pod = ['spec', 'template', 'spec'] as const;
const container = [...pod, 'containers', 0] as const;

const ofProgram = (object: string, program: 'agent' | 'controller'): Place[] => [
  { object, path: [...container, 'imagePullPolicy'], value: 'image.pullPolicy' },
  { object, path: [...container, 'env', 'BULKHEAD_LOG_LEVEL', 'value'], value: `${program}.logLevel` },
  { object, path: [...container, 'args'], value: `${program}.extraArgs`, append: true },
  { object, path: [...container, 'resources'], value: `${program}.resources` },
  { object, path: [...pod, 'nodeSelector'], value: `${program}.nodeSelector` },
  { object, path: [...pod, 'tolerations'], value: `${program}.tolerations` },
];

export const PLACES: readonly Place[] = [
  ...ofProgram(AGENT, 'agent'),
  ...ofProgram(CONTROLLER, 'controller'),
  { object: CONTROLLER, path: ['spec', 'replicas'], value: 'controller.replicas' },
];

/** Where the image stands; its value is made of two. */
export const IMAGE_PLACES: readonly Pick<Place, 'object' | 'path'>[] = [
  { object: AGENT, path: [...container, 'image'] },
  { object: CONTROLLER, path: [...container, 'image'] },
];

/** What each value is for: comments of values.yaml. */
export const VALUE_COMMENTS: Readonly<Record<string, string>> = {
  namespace: 'Namespace of the agents and the controller. It must exist, or be made with --create-namespace of Helm.',
  image: 'An image that the nodes can pull.',
  'image.tag': "Empty: the chart's appVersion.",
  bulkheadConfig:
    'Spec of the BulkheadConfig named default: switches and ceilings of the cluster, pools for subnets and egress addresses. Empty: none is made.',
  agent: 'The DaemonSet: one agent on each node.',
  controller: 'The Deployment: one replica leads, the others follow with everything in memory.',
  logLevel: 'silent, fatal, error, warn, info, debug or trace',
  extraArgs: 'More flags of the program; docs/reference/cli.md has all.',
};
