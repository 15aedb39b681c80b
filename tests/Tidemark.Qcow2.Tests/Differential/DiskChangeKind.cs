namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>The changes that both sides make.</summary>
internal enum DiskChangeKind
{
    Write,
    Zero,
    ZeroAndUnmap,
    Discard,
    Compressed,
    Flush,
}
