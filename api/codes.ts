import { CNI_ERRORS } from './cni.ts';
import { PROBLEM_CODES } from './nodeconfig.ts';

/** Every code that a user can meet, by boundary. docs/reference/errors.md explains each; a test compares the two. */
export const ERROR_CODES = {
  /** Reasons of events on pods, and of refusals by the agent. */
  pod: PROBLEM_CODES,
  /** Names of the CNI errors that the plugin prints. */
  cni: Object.keys(CNI_ERRORS),
  /** Reasons of the Ready condition of a VirtualNetwork. */
  network: [
    'Realized',
    'InvalidSpec',
    'SubnetConflict',
    'SubnetNotAllowed',
    'EgressAddressConflict',
    'EgressAddressNotAllowed',
    'LimitExceeded',
    'AddressesExhausted',
    'NoIdentifierLeft',
    'NodeFault',
    'InUse',
  ],
  /** Reasons of events on Services; those of pods too. */
  service: ['AddressNotServed'],
  /** Reasons of the Ready condition of a VirtualNetworkRouter; InvalidSpec too. */
  router: ['Connected', 'NothingToConnect', 'Waiting', 'Refused'],
  /** Errors of the IPAM. */
  ipam: ['Exhausted', 'NoPodCIDR', 'NotGiven', 'Taken'],
  /** Errors of the programs' own boundaries. */
  programs: ['ENOENT', 'EEXIST', 'NotFound', 'Failed', 'TimedOut', 'Conflict', 'Gone', 'Unavailable', 'BadKubeconfig'],
} as const;
