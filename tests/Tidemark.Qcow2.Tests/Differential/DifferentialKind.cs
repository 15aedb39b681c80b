namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>One kind of image that goes back and forth.</summary>
/// <param name="Name">What it is called in the test's list.</param>
/// <param name="Options">qemu-img's creation options, with <c>{data}</c> for a data file's name.</param>
internal sealed record DifferentialKind(string Name, string Options)
{
    /// <summary>The same for us; null when QEMU creates it.</summary>
    internal Qcow2CreateOptions? Ours { get; init; }

    internal int ClusterSize { get; init; } = 65536;

    internal int Length { get; init; } = (3 << 20) + 1536;

    /// <summary>Bytes of the backing file, if there is one; a raw file.</summary>
    internal int BackingLength { get; init; }

    internal bool HasDataFile { get; init; }

    internal bool HasBitmaps { get; init; } = true;

    internal bool HasSnapshots { get; init; }

    internal bool Resizes { get; init; }

    internal bool CanCompress { get; init; } = true;

    /// <summary>The first release of QEMU, as it is packaged, that has all of this.</summary>
    internal Version First { get; init; } = new(0, 0);

    /// <summary>Whether QEMU keeps clusters on discard; from 8.1 on.</summary>
    internal bool KeepsOnDiscard { get; init; }

    public override string ToString() => Name;
}
