namespace Tidemark.Qcow2.Metadata;

/// <summary>What becomes of clusters that are no longer to hold data.</summary>
internal enum ZeroMode
{
    /// <summary>Zeroes; host clusters stay set aside.</summary>
    Keep,

    /// <summary>Zeroes; host clusters stay set aside, but their space goes back to the file system.</summary>
    Punch,

    /// <summary>Zeroes; host clusters are freed.</summary>
    Free,

    /// <summary>Not allocated: the backing file shows.</summary>
    Reset,
}
