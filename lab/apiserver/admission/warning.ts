/** A `Warning` header (RFC 7234) for what admission warns of: one line of text, in bytes that a header can carry. */
export function warningHeader(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters end a header
  const line = text.replaceAll(/[\u0000-\u001f\u007f]+/g, ' ').slice(0, MAX_LENGTH);
  const quoted = line.replaceAll(/["\\]/g, '\\$&');
  return `299 - "${Buffer.from(quoted).toString('latin1')}"`;
}

const MAX_LENGTH = 4_096;
