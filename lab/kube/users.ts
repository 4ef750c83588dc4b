import {
  AGENT_AUDIENCE,
  AGENT_SERVICE_ACCOUNT,
  CONTROLLER_SERVICE_ACCOUNT,
  SYSTEM_NAMESPACE,
} from '../../api/names.ts';
import type { User } from '../apiserver/model/user.ts';
import type { LabSpec } from '../world/plan.ts';

/** Who each token of a lab is: the names that a cluster knows them by. What they may do is not limited, as RBAC is not enforced. */
export function usersOf(lab: LabSpec): Map<string, User> {
  return new Map(Object.entries(lab.tokens).map(([who, token]) => [token, userOf(who)]));
}

function userOf(who: string): User {
  const [role, node = ''] = who.split(':');
  switch (role) {
    case 'controller':
      return serviceAccount(CONTROLLER_SERVICE_ACCOUNT);
    case 'agent':
      return { ...serviceAccount(AGENT_SERVICE_ACCOUNT, node), audiences: [AGENT_AUDIENCE] };
    case 'agentapi':
      return serviceAccount(AGENT_SERVICE_ACCOUNT, node);
    case 'node':
      return { username: `system:node:${node}`, groups: ['system:nodes', 'system:authenticated'] };
    default:
      return { username: 'kubernetes-admin', groups: ['system:masters', 'system:authenticated'] };
  }
}

function serviceAccount(name: string, node?: string): User {
  return {
    username: `system:serviceaccount:${SYSTEM_NAMESPACE}:${name}`,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${SYSTEM_NAMESPACE}`, 'system:authenticated'],
    ...(node === undefined ? {} : { extra: { 'authentication.kubernetes.io/node-name': [node] } }),
  };
}
