namespace Tidemark.Qcow2.Checking;

/// <summary>What a check puts right: <c>qemu-img check -r</c>.</summary>
public enum Qcow2Repair
{
    /// <summary>Nothing; the file is only read.</summary>
    None,

    /// <summary>Clusters that are counted too often.</summary>
    Leaks,

    /// <summary>Everything that can be put right without losing what is still readable.</summary>
    All,
}
