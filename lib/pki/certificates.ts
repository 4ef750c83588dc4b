// @peculiar/x509 finds its parts through decorator metadata, and ends at once without.
import 'reflect-metadata';
import type { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';

/** A certificate authority of our own making. */
export type Authority = { readonly cert: x509.X509Certificate; readonly key: webcrypto.CryptoKey };

/** PEM texts of a server. */
export type ServerPem = { readonly ca: string; readonly cert: string; readonly key: string };

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;

/** A new authority, valid for ten years. */
export async function makeAuthority(commonName: string, now = Date.now()): Promise<Authority> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: randomSerial(),
    name: `CN=${commonName}`,
    notBefore: new Date(now - DAY_MS),
    notAfter: new Date(now + 3650 * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  });
  return { cert, key: keys.privateKey };
}

/** A server's certificate for these names and addresses, valid for 90 days. */
export async function issueServer(
  authority: Authority,
  commonName: string,
  hosts: readonly string[],
  now = Date.now(),
): Promise<ServerPem> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const cert = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: `CN=${commonName}`,
    issuer: authority.cert.subject,
    notBefore: new Date(now - DAY_MS),
    notAfter: new Date(now + 90 * DAY_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: authority.key,
    extensions: [
      new x509.SubjectAlternativeNameExtension(hosts.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value }))),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    ],
  });
  return { ca: authority.cert.toString('pem'), cert: cert.toString('pem'), key: await keyToPem(keys.privateKey) };
}

/** PKCS #8 as PEM. */
export const keyToPem = async (key: webcrypto.CryptoKey): Promise<string> =>
  x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');

/** Reads an authority back from its two PEM texts. */
export async function readAuthority(certPem: string, keyPem: string): Promise<Authority> {
  const key = await crypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(keyPem), ALGORITHM, true, ['sign']);
  return { cert: new x509.X509Certificate(certPem), key };
}

/** Share of a certificate's life that is left, 1 to 0; 0 when it cannot be read. */
export function lifeLeft(certificate: x509.X509Certificate | string, now = Date.now()): number {
  try {
    const { notBefore, notAfter } =
      typeof certificate === 'string' ? new x509.X509Certificate(certificate) : certificate;
    return Math.max(0, (notAfter.getTime() - now) / (notAfter.getTime() - notBefore.getTime()));
  } catch {
    return 0;
  }
}

/** 127 random bits, positive, as X.509 wants. */
const randomSerial = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
};
