import { readService, type Raw } from '../read/objects.ts';
import { keyOf, type Service } from '../cluster/state.ts';
import { serviceNetwork, type View } from '../view/view.ts';
import { servedFrontends } from '../view/frontends.ts';

/** External addresses that a Service would not get, of those that a request adds: each with the reason. */
export function refusedExternalIPs(
  view: View,
  namespace: string,
  object: Raw | null | undefined,
  oldObject: Raw | null | undefined,
): { readonly ip: string; readonly why: string }[] {
  const read = readService(object ?? {});
  // What is not stored yet is younger than all that is.
  const service: Service = {
    ...read,
    namespace,
    ...(oldObject ? {} : { created: Number.MAX_SAFE_INTEGER }),
    frontends: read.frontends.slice(0, read.externalIPs),
  };
  const known = new Set(oldObject ? externalIPs(readService(oldObject)) : []);
  const added = externalIPs(service).filter((ip) => !known.has(ip));
  if (added.length === 0) return [];
  const services = new Map(view.state.services).set(keyOf(service), service);
  const { unserved } = servedFrontends({ ...view.state, services }, (s) => serviceNetwork(view, s));
  const problems = unserved.get(keyOf(service)) ?? [];
  return added.flatMap((ip) =>
    problems.filter((p) => p.startsWith(`spec.externalIPs: ${ip} `)).map((why) => ({ ip, why })),
  );
}

const externalIPs = (service: Service): string[] => service.frontends.slice(0, service.externalIPs).map(({ ip }) => ip);
