namespace Tidemark.Cli.Demo;

/// <summary>A small generator of numbers from a seed (SplitMix64, Steele,
/// Lea and Flood 2014): fast, and the same everywhere.</summary>
internal struct SplitMix(ulong seed)
{
    private ulong _state = seed;

    /// <summary>The next 64 bits.</summary>
    public ulong Next()
    {
        _state += 0x9E3779B97F4A7C15;
        var mixed = _state;
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
        return mixed ^ (mixed >> 31);
    }

    /// <summary>A number from 0 up to, not including, the limit.</summary>
    public uint Next(uint limit) => (uint)(((Next() >> 32) * limit) >> 32);
}
