import { readFileSync } from 'node:fs';
import { canonicalIp, mustIp } from '../../lib/ip/address.ts';
import { contains, mustPrefix } from '../../lib/ip/prefix.ts';

/**
 * Name servers of the host. A node reaches them by its default route as a rule, which says nothing of them, and it is lost without
 * them. Cached on the host itself they are somewhere behind; a file that cannot be read names none.
 */
export function resolvers(file = '/etc/resolv.conf'): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return nameservers(text);
}

/** Those in the text of a resolv.conf that are on no link and not on this host, sorted. */
export function nameservers(text: string): string[] {
  const named = [...text.matchAll(/^[ \t]*nameserver[ \t]+([^\s#;%]+)/gm)].flatMap(
    ([, ip = '']) => canonicalIp(ip) ?? [],
  );
  return [...new Set(named)].filter((ip) => !NEAR.some((p) => contains(p, mustIp(ip)))).sort();
}

const NEAR = ['127.0.0.0/8', '169.254.0.0/16', '::1/128', 'fe80::/10'].map(mustPrefix);
