import type { ClosedItem, ClusterItem, Protocol } from '../../api/nodeconfig.ts';
import type { ClosedPort, HostPort } from './former-flows.ts';

type Port = { readonly protocol: Protocol; readonly port: number; readonly ip?: string };

const closedPort = ({ ip, protocol, port }: Port): ClosedPort => ({
  protocol: protocol.toLowerCase() as HostPort['protocol'],
  port,
  ...(ip === undefined ? {} : { ip }),
});

/** Node ports and ports of outer addresses that are closed to pods of the flat network. */
export const closedPorts = (cluster: ClusterItem | undefined): ClosedPort[] =>
  [...(cluster?.closedNodePorts ?? []), ...(cluster?.closedFrontends ?? [])].map(closedPort);

/** The same of the backends of one network. */
export const closedBackends = (item: ClosedItem | undefined): Required<ClosedPort>[] =>
  (item?.backends ?? []).map((b) => ({ ...closedPort(b), ip: b.ip }));
