import { createSocket, type RemoteInfo } from 'node:dgram';
import { createServer, type Socket } from 'node:net';
import packet, { type Answer, type Packet, type Question } from 'dns-packet';
import { listenIn } from '../../lib/netns/listen.ts';
import { arr, at, num, str, strs } from '../apiserver/model/path.ts';
import type { KubeObject } from '../../lib/kube/client.ts';

/** What names are made from: live copies, by "namespace/name". */
export type DnsData = {
  readonly services: ReadonlyMap<string, KubeObject>;
  readonly slices: ReadonlyMap<string, KubeObject>;
  readonly pods: ReadonlyMap<string, KubeObject>;
};

const ZONE = 'cluster.local';
const TTL = 5;

/** Answers DNS on port 53 of a namespace, UDP and TCP, until closed. */
export function startDns(netns: string, data: DnsData, port = 53): { readonly close: () => void } {
  const udp = createSocket('udp6');
  udp.on('error', () => undefined);
  udp.on('message', (query: Buffer, from: RemoteInfo) => {
    const reply = respond(query, data);
    if (reply) udp.send(reply, from.port, from.address);
  });
  udp.bind({ fd: listenIn(netns, 'udp', '::', port) });
  const tcp = createServer((socket: Socket) => {
    socket.on('error', () => socket.destroy());
    let buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      while (buffer.length >= 2 && buffer.length >= 2 + buffer.readUInt16BE(0)) {
        const end = 2 + buffer.readUInt16BE(0);
        const reply = respond(buffer.subarray(2, end), data);
        buffer = buffer.subarray(end);
        if (!reply) continue;
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length);
        socket.write(Buffer.concat([length, reply]));
      }
    });
  });
  tcp.listen({ fd: listenIn(netns, 'tcp', '::', port) });
  return {
    close: () => {
      udp.close();
      tcp.close();
    },
  };
}

function respond(query: Buffer, data: DnsData): Buffer | undefined {
  let decoded: Packet;
  try {
    decoded = packet.decode(query);
  } catch {
    return undefined; // not DNS
  }
  const question = decoded.questions?.[0];
  if (!question) return undefined;
  const { answers, rcode } = resolveName(question, data);
  // 0x0400: authoritative. REFUSED for names that are not the cluster's: the lab has no other resolver.
  const flags = 0x0400 | ((decoded.flags ?? 0) & 0x0100) | rcode;
  return packet.encode({ id: decoded.id ?? 0, type: 'response', flags, questions: [question], answers });
}

const RCODE = { ok: 0, nameError: 3, refused: 5 } as const;

/** The records of a name (kubernetes/dns specification 1.1.0): Services, headless Services and their pods, pods by address, SRV. */
export function resolveName(
  question: Pick<Question, 'name' | 'type'>,
  data: DnsData,
): { readonly answers: Answer[]; readonly rcode: number } {
  const name = question.name.toLowerCase().replace(/\.$/, '');
  if (name !== ZONE && !name.endsWith(`.${ZONE}`)) return { answers: [], rcode: RCODE.refused };
  const labels = name
    .slice(0, -ZONE.length - 1)
    .split('.')
    .reverse();
  const [kind, namespace = '', ...rest] = labels;
  const address = (ip: string): Answer[] => {
    const type = ip.includes(':') ? 'AAAA' : 'A';
    return question.type === type ? [{ type, name: question.name, ttl: TTL, data: ip }] : [];
  };
  if (kind === 'pod' && rest.length === 1) {
    const ip = dashed(rest[0] ?? '');
    const found = [...data.pods.values()].some((p) => p.metadata.namespace === namespace && podIps(p).includes(ip));
    return found ? { answers: address(ip), rcode: RCODE.ok } : { answers: [], rcode: RCODE.nameError };
  }
  if (kind !== 'svc' || rest.length === 0) return { answers: [], rcode: RCODE.nameError };
  const [serviceName = '', ...inner] = rest;
  const service = data.services.get(`${namespace}/${serviceName}`);
  if (!service) return { answers: [], rcode: RCODE.nameError };
  const external = str(at(service, 'spec', 'externalName'));
  if (external !== '' && inner.length === 0)
    return { answers: [{ type: 'CNAME', name: question.name, ttl: TTL, data: external }], rcode: RCODE.ok };
  const endpoints = endpointsOf(service, data);
  const headless = at(service, 'spec', 'clusterIP') === 'None';
  if (inner.length === 0) {
    const ips = headless ? endpoints.map((e) => e.ip) : strs(at(service, 'spec', 'clusterIPs'));
    return { answers: ips.flatMap(address), rcode: headless && ips.length === 0 ? RCODE.nameError : RCODE.ok };
  }
  if (inner.length === 1 && headless) {
    const ips = endpoints.filter((e) => e.hostname === inner[0]).map((e) => e.ip);
    return { answers: ips.flatMap(address), rcode: ips.length > 0 ? RCODE.ok : RCODE.nameError };
  }
  const [protocol = '', port = ''] = inner;
  if (inner.length === 2 && protocol.startsWith('_') && port.startsWith('_')) {
    const found = arr(at(service, 'spec', 'ports')).find(
      (p) => `_${str(p['name'])}` === port && `_${str(p['protocol']).toLowerCase()}` === protocol,
    );
    if (!found) return { answers: [], rcode: RCODE.nameError };
    const base = `${serviceName}.${namespace}.svc.${ZONE}`;
    const targets = headless ? [...new Set(endpoints.map((e) => `${e.hostname}.${base}`))] : [base];
    return {
      answers:
        question.type === 'SRV'
          ? targets.map(
              (target): Answer => ({
                type: 'SRV',
                name: question.name,
                ttl: TTL,
                data: { port: num(found['port']), target, priority: 0, weight: 100 },
              }),
            )
          : [],
      rcode: RCODE.ok,
    };
  }
  return { answers: [], rcode: RCODE.nameError };
}

function endpointsOf(service: KubeObject, data: DnsData): { readonly ip: string; readonly hostname: string }[] {
  const { namespace, name } = service.metadata;
  const slices = [...data.slices.values()].filter(
    (s) => s.metadata.namespace === namespace && s.metadata.labels?.['kubernetes.io/service-name'] === name,
  );
  return slices.flatMap((s) =>
    arr(s['endpoints'])
      .filter((e) => at(e, 'conditions', 'ready') !== false)
      .flatMap((e) =>
        strs(e['addresses']).map((ip) => ({ ip, hostname: str(e['hostname']) || ip.replaceAll(/[.:]/g, '-') })),
      ),
  );
}

const podIps = (p: KubeObject): string[] => arr(at(p, 'status', 'podIPs')).map((x) => str(x['ip']));
/** "10-244-1-5" is an address of either family, with its dots or colons as dashes. */
const dashed = (label: string): string =>
  /^\d+-\d+-\d+-\d+$/.test(label) ? label.replaceAll('-', '.') : label.replaceAll('-', ':');
