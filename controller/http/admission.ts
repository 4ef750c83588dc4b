import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { AdmissionRequest, AdmissionResponse } from '../../core/admission/review.ts';
import { addressOf } from '../../lib/http/connection-share.ts';
import { TokenBuckets } from '../../lib/http/token-bucket.ts';

/** Judges a request. `fromApiServer`: it may take the cluster into account. */
export type Admit = (request: AdmissionRequest, fromApiServer: boolean) => Promise<AdmissionResponse>;

/** Who calls. `certified`: with a certificate of the authority for webhook clients. */
export type Caller = { readonly address: string; readonly certified: boolean };

/** An object of the API has at most 1.5 MB; an update brings it twice. */
const MAX_BODY = 3 << 20;
/** Bytes that are read for one address, and for all. */
const PER_ADDRESS = { burst: 2 * MAX_BODY, perSecond: MAX_BODY };
const TOGETHER = { burst: 8 * MAX_BODY, perSecond: 8 * MAX_BODY };
/** What a request costs beside its bytes. */
const PER_REQUEST = 10 << 10;

const object = z.record(z.string(), z.unknown());
const name = z.string().max(253);

/** What the API server sends, as far as it is read (admission.k8s.io/v1 AdmissionReview). */
const admissionReview = z.object({
  request: z.object({
    uid: z.string().min(1).max(128),
    operation: z.enum(['CREATE', 'UPDATE', 'DELETE', 'CONNECT']),
    resource: z.object({ group: name, resource: name }),
    namespace: name.optional(),
    name: name.optional(),
    object: object.nullish(),
    oldObject: object.nullish(),
    userInfo: z
      .object({
        username: z.string(),
        uid: z.string().optional(),
        groups: z.array(z.string()).optional(),
        extra: z.record(z.string(), z.array(z.string())).optional(),
      })
      .optional(),
  }),
});

/** `POST /admit`: judges objects for the API server. */
export function admissionRoute(
  server: FastifyInstance,
  { admit, isApiServer }: { readonly admit: Admit; readonly isApiServer: (caller: Caller) => boolean },
): void {
  const perAddress = new TokenBuckets(PER_ADDRESS);
  const together = new TokenBuckets(TOGETHER);

  server.post(
    '/admit',
    {
      bodyLimit: MAX_BODY,
      onRequest: async (request, reply) => {
        const caller = callerOf(request);
        const { address } = caller;
        if (isApiServer(caller)) return undefined;
        const announced = Number(request.headers['content-length'] ?? MAX_BODY);
        const cost = PER_REQUEST + Math.min(Number.isFinite(announced) ? announced : MAX_BODY, MAX_BODY);
        if (perAddress.take(address, cost) && together.take('', cost)) return undefined;
        return await reply
          .code(429)
          .header('retry-after', '1')
          .header('connection', 'close')
          .send({ message: 'too many reviews are asked for' });
      },
    },
    async (request, reply) => {
      const parsed = admissionReview.safeParse(request.body);
      if (!parsed.success)
        return await reply
          .code(400)
          .send({ message: `not an AdmissionReview: ${parsed.error.message.slice(0, 1_000)}` });
      const response = await admit(parsed.data.request as AdmissionRequest, isApiServer(callerOf(request)));
      return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response };
    },
  );
}

const callerOf = ({ raw: { socket } }: FastifyRequest): Caller => ({
  address: addressOf(socket),
  certified: (socket as { readonly authorized?: boolean }).authorized === true,
});
