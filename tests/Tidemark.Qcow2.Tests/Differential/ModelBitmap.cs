using System.Collections;

namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>A bitmap as a list of flags.</summary>
internal sealed class ModelBitmap(int size, int granularity)
{
    private readonly BitArray _granules = new((size + granularity - 1) / granularity);
    private int _size = size;

    internal int Granularity => granularity;

    internal bool IsRecording { get; set; } = true;

    /// <summary>Dirty bytes as QEMU counts them: whole granules.</summary>
    internal long DirtyCount => _granules.Cast<bool>().Count(mark => mark) * (long)granularity;

    internal bool Get(long offset) => _granules[(int)(offset / granularity)];

    internal void Mark(int offset, int count)
    {
        for (var granule = offset / granularity; granule <= (offset + count - 1) / granularity; granule++)
        {
            _granules[granule] = true;
        }
    }

    internal void Clear() => _granules.SetAll(false);

    internal void Resize(int length)
    {
        _size = length;
        _granules.Length = (_size + granularity - 1) / granularity;
    }
}
