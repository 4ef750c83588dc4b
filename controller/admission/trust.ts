import { WEBHOOK_CONFIGURATION } from '../../api/names.ts';
import type { KubeClient, KubeObject, Resource } from '../../lib/kube/client.ts';
import { isKube } from '../../lib/kube/error.ts';

const CONFIGURATIONS: Resource = {
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  plural: 'validatingwebhookconfigurations',
};

/** Tells the API server which authorities to trust when it calls our webhook. Nothing to do where there is none installed. */
export async function publishWebhookTrust(client: KubeClient, bundle: string): Promise<void> {
  let current: KubeObject;
  try {
    current = await client.get(CONFIGURATIONS, WEBHOOK_CONFIGURATION);
  } catch (error) {
    if (isKube(error, 'NotFound')) return;
    throw error;
  }
  const caBundle = Buffer.from(bundle).toString('base64');
  const webhooks = (current['webhooks'] ?? []) as { clientConfig: { caBundle?: string } }[];
  if (webhooks.every((w) => w.clientConfig.caBundle === caBundle)) return;
  const trusted = webhooks.map((w) => ({ ...w, clientConfig: { ...w.clientConfig, caBundle } }));
  await client.patch(CONFIGURATIONS, WEBHOOK_CONFIGURATION, undefined, {
    metadata: { resourceVersion: current.metadata.resourceVersion },
    webhooks: trusted,
  });
}
