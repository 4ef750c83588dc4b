import { CA_CONFIGMAP, CA_SECRET, MANAGED_BY, SYSTEM_NAMESPACE } from '../../api/names.ts';
import { core, type KubeClient, type KubeObject } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import {
  type Authority,
  issueServer,
  keyToPem,
  makeAuthority,
  readAuthority,
  type ServerPem,
} from '../../lib/pki/certificates.ts';

/**
 * A certificate for this replica from the controller's own authority: kept in a Secret, its certificate published in a
 * ConfigMap for agents. The authority is made by the first leader, and again when less than a third of its life is left.
 */
export async function servingCertificate(client: KubeClient, hosts: readonly string[]): Promise<ServerPem> {
  const authority = await loadAuthority(client);
  await publish(client, authority.cert.toString('pem'));
  return await issueServer(authority, 'bulkhead-controller', hosts);
}

async function loadAuthority(client: KubeClient): Promise<Authority> {
  let secret: KubeObject | undefined;
  try {
    secret = await client.get(core('secrets'), CA_SECRET, SYSTEM_NAMESPACE);
  } catch (error) {
    if (!isKube(error, 'NotFound')) throw error;
  }
  const data = secret?.['data'] as Record<string, string> | undefined;
  if (data) {
    const pem = (name: string): string => Buffer.from(data[name] ?? '', 'base64').toString();
    const authority = await readAuthority(pem('tls.crt'), pem('tls.key'));
    const life = authority.cert.notAfter.getTime() - authority.cert.notBefore.getTime();
    if (authority.cert.notAfter.getTime() - Date.now() > life / 3) return authority;
  }
  const made = await makeAuthority('bulkhead-ca');
  const body: KubeObject = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: secret?.metadata ?? {
      name: CA_SECRET,
      namespace: SYSTEM_NAMESPACE,
      labels: { [MANAGED_BY.key]: MANAGED_BY.value },
    },
    type: 'kubernetes.io/tls',
    data: { 'tls.crt': base64(made.cert.toString('pem')), 'tls.key': base64(await keyToPem(made.key)) },
  };
  await (secret ? client.replace(core('secrets'), body) : client.create(core('secrets'), body));
  return made;
}

async function publish(client: KubeClient, ca: string): Promise<void> {
  const metadata = { name: CA_CONFIGMAP, namespace: SYSTEM_NAMESPACE, labels: { [MANAGED_BY.key]: MANAGED_BY.value } };
  try {
    await client.create(core('configmaps'), { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'ca.crt': ca } });
  } catch (error) {
    if (!isKube(error, 'AlreadyExists')) throw error;
    await client.patch(core('configmaps'), CA_CONFIGMAP, SYSTEM_NAMESPACE, { data: { 'ca.crt': ca } });
  }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
