namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>A bitmap as a list of flags.</summary>
internal sealed class ModelBitmap(int size, int granularity)
{
    // Not a BitArray: that of .NET 10.0.12 keeps some of its bits when it is made shorter and then longer again.
    private bool[] _granules = new bool[(size + granularity - 1) / granularity];
    private int _size = size;

    internal int Granularity => granularity;

    internal bool IsRecording { get; set; } = true;

    /// <summary>Dirty bytes as QEMU counts them: whole granules.</summary>
    internal long DirtyCount => _granules.Count(mark => mark) * (long)granularity;

    internal bool Get(long offset) => _granules[(int)(offset / granularity)];

    internal void Mark(int offset, int count)
    {
        for (var granule = offset / granularity; granule <= (offset + count - 1) / granularity; granule++)
        {
            _granules[granule] = true;
        }
    }

    internal void Clear() => Array.Clear(_granules);

    internal void Resize(int length)
    {
        _size = length;
        Array.Resize(ref _granules, (_size + granularity - 1) / granularity);
    }
}
