import type { Problem } from '../cel/rules.ts';
import { arr, type Json, str, strs } from '../model/path.ts';
import { addressProblem, isFamily } from './address-checks.ts';
import { checkProtocol, duplicates, isPort, unsupported } from './port.ts';

const FAMILY: Readonly<Record<string, 4 | 6>> = { IPv4: 4, IPv6: 6 };

/** What is wrong with an EndpointSlice. */
export function checkEndpointSlice(slice: Json, before: Json | undefined): Problem[] {
  const type = str(slice['addressType']);
  const ports = arr(slice['ports']);
  const problems = [
    ...unsupported('addressType', type, ['FQDN', 'IPv4', 'IPv6']),
    ...ports.flatMap((p, i) => [
      ...checkProtocol(p, `ports[${i}].protocol`),
      ...(p['port'] === undefined || p['port'] === null || isPort(p['port'])
        ? []
        : [{ field: `ports[${i}].port`, message: 'must be between 1 and 65535, inclusive' }]),
    ]),
    ...duplicates(
      ports.map((p) => `name ${str(p['name'])}`),
      (i) => `ports[${i}].name`,
    ),
    ...arr(slice['endpoints']).flatMap((e, i) => checkAddresses(e, type, `endpoints[${i}].addresses`)),
  ];
  if (before && str(before['addressType']) !== type)
    problems.push({ field: 'addressType', message: 'field is immutable' });
  return problems;
}

function checkAddresses(endpoint: Json, type: string, field: string): Problem[] {
  const addresses = strs(endpoint['addresses']);
  if (addresses.length === 0) return [{ field, message: 'must contain at least 1 address' }];
  if (addresses.length > 100) return [{ field, message: 'must have at most 100 items' }];
  const family = FAMILY[type];
  if (family === undefined) return [];
  return addresses.flatMap((a, i): Problem[] => {
    const message = addressProblem(a) ?? (isFamily(a, family) ? undefined : `"${a}" must be an ${type} address`);
    return message === undefined ? [] : [{ field: `${field}[${i}]`, message }];
  });
}
