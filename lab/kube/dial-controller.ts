import { SYSTEM_NAMESPACE, WEBHOOK_SERVICE } from '../../api/names.ts';
import { dialIn } from '../../lib/netns/dial.ts';
import { API, CONTROLLER, CONTROLLER_PORT, fabricAddress, families, type LabSpec, netPath } from '../world/plan.ts';
import type { DialService } from './call-webhook.ts';

/**
 * The way to the Service of the controller: its first replica that answers. Pods of a lab run no programs, so no other Service can
 * have a webhook behind it.
 */
export function controllerDialer(lab: LabSpec): DialService {
  const [family = 4] = families(lab.family);
  // The controller tells the API server more than others, and knows it by its address.
  const to = { ip: fabricAddress(family, CONTROLLER), from: fabricAddress(family, API) };
  return async (namespace, name, _port, timeoutMs) => {
    if (namespace !== SYSTEM_NAMESPACE || name !== WEBHOOK_SERVICE)
      throw new Error(`service "${namespace}/${name}": pods of a lab run no programs, so no webhook answers there`);
    try {
      return await dialIn(netPath(lab.name, 'fabric'), { ...to, port: CONTROLLER_PORT }, timeoutMs);
    } catch {
      return await dialIn(netPath(lab.name, 'fabric'), { ...to, port: CONTROLLER_PORT + 1 }, timeoutMs);
    }
  };
}
