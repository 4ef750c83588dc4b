import { CA_CONFIGMAP, CA_SECRET, MANAGED_BY, SYSTEM_NAMESPACE } from '../../api/names.ts';
import { core, type KubeClient, type KubeObject } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';
import { type Authority, keyToPem, lifeLeft, makeAuthority, readAuthority } from '../../lib/pki/certificates.ts';

/** The authority that signs, and all certificates that clients should trust: the present one, and those still in use. */
export type Trust = { readonly authority: Authority; readonly bundle: string };

/** A new authority is made when less than this share of its life is left. */
const RENEW_BELOW = 1 / 3;

/**
 * The controller's own authority: its key in a Secret, the certificates to trust in a ConfigMap.
 *
 * Rotation: the new certificate is published *beside* the old one first, and signs only then; the old one stays published
 * until it is over. So no client ever meets a certificate that the published bundle does not cover.
 */
export async function ensureAuthority(client: KubeClient, now = Date.now()): Promise<Trust> {
  const secret = await read(client, 'secrets', CA_SECRET);
  const current = secret && (await fromSecret(secret));
  if (current && lifeLeft(current.cert, now) > RENEW_BELOW) {
    return { authority: current, bundle: await publish(client, current.cert.toString('pem'), now) };
  }
  const made = await makeAuthority('bulkhead-ca', now);
  const body: KubeObject = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: secret?.metadata ?? { name: CA_SECRET, namespace: SYSTEM_NAMESPACE, labels: LABELS },
    type: 'kubernetes.io/tls',
    data: { 'tls.crt': base64(made.cert.toString('pem')), 'tls.key': base64(await keyToPem(made.key)) },
  };
  const bundle = await publish(client, made.cert.toString('pem'), now);
  try {
    await (secret ? client.replace(core('secrets'), body) : client.create(core('secrets'), body));
  } catch (error) {
    // The other replica was first: what it made is what counts.
    if (isKube(error, 'AlreadyExists') || isKube(error, 'Conflict')) return await ensureAuthority(client, now);
    throw error;
  }
  return { authority: made, bundle };
}

async function read(client: KubeClient, plural: string, name: string): Promise<KubeObject | undefined> {
  try {
    return await client.get(core(plural), name, SYSTEM_NAMESPACE);
  } catch (error) {
    if (isKube(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** The authority in the Secret, or undefined when its content cannot be read. */
async function fromSecret(secret: KubeObject): Promise<Authority | undefined> {
  const data = secret['data'] as Record<string, string> | undefined;
  const pem = (name: string): string => Buffer.from(data?.[name] ?? '', 'base64').toString();
  try {
    return await readAuthority(pem('tls.crt'), pem('tls.key'));
  } catch {
    return undefined;
  }
}

/** Adds a certificate to the published ones, drops those that are over, and returns what is published now. */
async function publish(client: KubeClient, pem: string, now: number): Promise<string> {
  for (;;) {
    const map = await read(client, 'configmaps', CA_CONFIGMAP);
    const old = (map?.['data'] as Record<string, string> | undefined)?.['ca.crt'] ?? '';
    const bundle = [pem, ...certificatesOf(old).filter((c) => c !== pem.trim() && lifeLeft(c, now) > 0)]
      .map((c) => `${c.trim()}\n`)
      .join('');
    if (map && old === bundle) return bundle;
    const body: KubeObject = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: map?.metadata ?? { name: CA_CONFIGMAP, namespace: SYSTEM_NAMESPACE, labels: LABELS },
      data: { 'ca.crt': bundle },
    };
    try {
      await (map ? client.replace(core('configmaps'), body) : client.create(core('configmaps'), body));
      return bundle;
    } catch (error) {
      if (!isKube(error, 'AlreadyExists') && !isKube(error, 'Conflict')) throw error;
    }
  }
}

const certificatesOf = (bundle: string): string[] =>
  bundle.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
const LABELS = { [MANAGED_BY.key]: MANAGED_BY.value };
const base64 = (text: string): string => Buffer.from(text).toString('base64');
