/** The texts of `Warning` headers (RFC 7234): `299 - "text"`, one or several. */
export function readWarnings(header: string | readonly string[] | undefined): string[] {
  const lines = header === undefined ? [] : typeof header === 'string' ? [header] : header;
  return lines.flatMap((line) =>
    [...line.matchAll(/\b\d{3} \S+ "((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) =>
      Buffer.from(text.replaceAll(/\\(.)/g, '$1'), 'latin1').toString(),
    ),
  );
}
