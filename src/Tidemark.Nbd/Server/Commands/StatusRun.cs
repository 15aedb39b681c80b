namespace Tidemark.Nbd.Server.Commands;

/// <summary>One descriptor of a block status chunk.</summary>
/// <param name="Length">Bytes, more than zero.</param>
/// <param name="State">As the context defines it.</param>
internal readonly record struct StatusRun(long Length, uint State);
