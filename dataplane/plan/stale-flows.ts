import type { Protocol } from '../../api/nodeconfig.ts';
import { type Flow, PROTOCOL_NUMBER } from '../../lib/netlink/flow.ts';
import { gateIn, type GateFlow, gateOut, passes } from './gate.ts';
import { type FlowRules, gateFacts, inPrefixes } from './gate-facts.ts';
import { ALLOWED_MARK, FAMILIES } from './names.ts';
import { backendsHere, type Dialled, type ServiceReach } from './services.ts';

/** Protocols whose senders would go on for ever towards a backend that is gone: pitfalls kubernetes#48370, #101607. */
const TCP_SYN_SENT = 1;

/**
 * Connections that were made when other rules held and that these would not let be made: they are forgotten, so that what was
 * taken away ends now and not when the last client hangs up. An established TCP connection to a backend that is merely leaving
 * its Service goes on, as everywhere.
 */
export function staleFlows(flows: readonly Flow[], rules: FlowRules): Flow[] {
  const facts = gateFacts(rules);
  const [out, into] = [gateOut(rules.network), gateIn(rules.network)];
  const nodes = new Set(rules.nodes);
  const translates = translationBy(rules);
  return flows.filter((flow) => {
    const gateFlow = gateFlowOf(flow);
    const { src, dst, protocol, marked } = gateFlow;
    const waiting = protocol === 'UDP' || (protocol !== 'ICMP' && flow.tcpState === TCP_SYN_SENT);
    if (translates(flow, gateFlow, waiting) === 'otherwise') return true;
    if (marked) return false;
    const [fromHere, toHere] = [facts.own(src), facts.own(dst)];
    if (fromHere === toHere) return false;
    if (fromHere) return !passes(out, gateFlow, facts);
    // From the outside, or masqueraded by a node, what stands goes on though its node port, outer address or host port may have
    // gone since.
    const judged = waiting || facts.api(src) || (facts.pods(src) && !nodes.has(src));
    return judged && !passes(into, gateFlow, facts);
  });
}

/** Where a connection goes in truth: after the translation of Services, before any masquerade. */
function gateFlowOf({ protocol, orig, reply, mark }: Flow): GateFlow {
  return {
    src: orig.src,
    dst: reply.src,
    protocol: protocolOf(protocol),
    port: reply.sport,
    marked: mark === Number(ALLOWED_MARK),
  };
}

/** Whether a connection that was translated would be translated otherwise now, or not at all. */
function translationBy(rules: FlowRules) {
  const frontends = frontendsOf(rules);
  const isOwn = inPrefixes(rules.own);
  return ({ orig }: Flow, { src, dst, protocol, port, marked }: GateFlow, waiting: boolean): 'otherwise' | 'alike' => {
    if (protocol === 'ICMP' || (orig.dst === dst && orig.dport === port)) return 'alike';
    const frontend = frontends(orig.dst, protocol, orig.dport);
    if (marked && !frontend) return 'otherwise';
    if (marked && typeof frontend?.reach === 'function' && !frontend.reach(protocol, dst, port)) return 'otherwise';
    return isOwn(src) && waiting && !frontend?.backends.has(`${dst} ${port}`) ? 'otherwise' : 'alike';
  };
}

/** The Service port that is dialled by an address, and its backends here. */
type Frontends = (
  ip: string,
  protocol: Protocol | 'ICMP',
  port: number,
) => { readonly reach: ServiceReach; readonly backends: ReadonlySet<string> } | undefined;

function frontendsOf({ services, place, nodeAddresses }: FlowRules): Frontends {
  const map = new Map<string, { reach: ServiceReach; backends: Set<string> }>();
  const nodePorts = new Map<string, { reach: ServiceReach; backends: Set<string> }>();
  const nodes = new Set(nodeAddresses);
  for (const { service, reach } of services) {
    for (const servicePort of service.ports) {
      const { protocol, port, nodePort } = servicePort;
      const known = (dialled: Dialled): { reach: ServiceReach; backends: Set<string> } => {
        const here = FAMILIES.flatMap((f) => backendsHere(service, servicePort, f, dialled, { place, reach }));
        return { reach, backends: new Set(here.map((b) => `${b.ip} ${b.port}`)) };
      };
      const inner = known('ClusterIP');
      for (const ip of service.clusterIPs) map.set(`${ip} ${protocol} ${port}`, inner);
      if (reach !== 'own') continue;
      const outer = known('NodePort');
      for (const { ip } of service.frontends ?? []) map.set(`${ip} ${protocol} ${port}`, outer);
      if (nodePort !== undefined) nodePorts.set(`${protocol} ${nodePort}`, outer);
    }
  }
  return (ip, protocol, port) =>
    map.get(`${ip} ${protocol} ${port}`) ?? (nodes.has(ip) ? nodePorts.get(`${protocol} ${port}`) : undefined);
}

function protocolOf(number: number): Protocol | 'ICMP' {
  if (number === PROTOCOL_NUMBER.TCP) return 'TCP';
  if (number === PROTOCOL_NUMBER.UDP) return 'UDP';
  return number === PROTOCOL_NUMBER.SCTP ? 'SCTP' : 'ICMP';
}
