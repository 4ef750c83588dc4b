/** A pod of the lab answers a datagram with this text by its name; any other datagram comes back unchanged. */
export const WHO_ARE_YOU = 'who are you\n';
