namespace Tidemark.Bench;

/// <summary>The figures of one contestant.</summary>
/// <param name="Contest">The contest.</param>
/// <param name="Who">The contestant.</param>
/// <param name="Unit"><c>s</c> (less is better) or <c>IOPS</c> or <c>MB/s</c> (more is better).</param>
/// <param name="Figures">One per repetition.</param>
/// <param name="ProcessorSeconds">User and system time, one per repetition.</param>
/// <param name="Bytes">The bytes that the work is about; 0 when they do not matter.</param>
internal sealed record Result(
    string Contest, string Who, string Unit, IReadOnlyList<double> Figures, IReadOnlyList<double> ProcessorSeconds,
    long Bytes)
{
    public double Median => MedianOf(Figures);

    public double Processor => MedianOf(ProcessorSeconds);

    public static double MedianOf(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        var middle = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }
}
