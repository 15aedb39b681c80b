using System.Globalization;
using System.Text;
using Tidemark.Images.Output;
using Tidemark.Qcow2.Checking;

namespace Tidemark.Images.Checking;

/// <summary>What a check found, in qemu-img's words.</summary>
/// <param name="FileName">The image.</param>
/// <param name="Format">Its format.</param>
/// <param name="Report">What is there now, after repairs.</param>
/// <param name="LeaksFixed">Leaks that were put right.</param>
/// <param name="CorruptionsFixed">Corruptions that were put right.</param>
public sealed record ImageCheckResult(
    string FileName, string Format, Qcow2CheckReport Report, int LeaksFixed, int CorruptionsFixed)
{
    /// <summary>What the repair said, one line each.</summary>
    public IReadOnlyList<string> RepairMessages { get; init; } = [];

    /// <summary>qemu-img's exit code: 0 clean, 1 not completed, 2 corrupt, 3 leaks only.</summary>
    public int ExitCode => true switch
    {
        _ when Report.CheckErrors > 0 => 1,
        _ when Report.Corruptions > 0 => 2,
        _ when Report.Leaks > 0 => 3,
        _ => 0,
    };

    /// <summary>The result for programs.</summary>
    public OutputDict ToDict() => new OutputDict()
        .Add("filename", FileName)
        .Add("format", Format)
        .Add("check-errors", Report.CheckErrors)
        .Add("image-end-offset", NotZero(Report.ImageEndOffset))
        .Add("corruptions", NotZero(Report.Corruptions))
        .Add("leaks", NotZero(Report.Leaks))
        .Add("corruptions-fixed", NotZero(CorruptionsFixed))
        .Add("leaks-fixed", NotZero(LeaksFixed))
        .Add("total-clusters", NotZero(Report.TotalClusters))
        .Add("allocated-clusters", NotZero(Report.AllocatedClusters))
        .Add("fragmented-clusters", NotZero(Report.FragmentedClusters))
        .Add("compressed-clusters", NotZero(Report.CompressedClusters));

    /// <summary>The result for people: what was put right, then what is there.</summary>
    public string ToText()
    {
        StringBuilder text = new();
        if (LeaksFixed > 0 || CorruptionsFixed > 0)
        {
            text.Append(CultureInfo.InvariantCulture,
                $"The following inconsistencies were found and repaired:\n\n    {LeaksFixed} leaked clusters\n"
                + $"    {CorruptionsFixed} corruptions\n\nDouble checking the fixed image now...\n");
        }

        if (Report.IsClean)
        {
            text.Append("No errors were found on the image.\n");
        }

        if (Report.Corruptions > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n{Report.Corruptions} errors were found on the image.\n")
                .Append("Data may be corrupted, or further writes to the image may corrupt it.\n");
        }

        if (Report.Leaks > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n{Report.Leaks} leaked clusters were found on the image.\n")
                .Append("This means waste of disk space, but no harm to data.\n");
        }

        if (Report.CheckErrors > 0)
        {
            text.Append(CultureInfo.InvariantCulture,
                $"\n{Report.CheckErrors} internal errors have occurred during the check.\n");
        }

        AppendStatistics(text);
        return text.ToString();
    }

    private void AppendStatistics(StringBuilder text)
    {
        var (total, allocated) = (Report.TotalClusters, Report.AllocatedClusters);
        if (total != 0 && allocated != 0)
        {
            text.Append(CultureInfo.InvariantCulture,
                $"{allocated}/{total} = {Percent(allocated, total)}% allocated, "
                + $"{Percent(Report.FragmentedClusters, allocated)}% fragmented, "
                + $"{Percent(Report.CompressedClusters, allocated)}% compressed clusters\n");
        }

        if (Report.ImageEndOffset > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"Image end offset: {Report.ImageEndOffset}\n");
        }
    }

    private static string Percent(long part, long whole) =>
        Math.Round(part * 100.0 / whole, 2, MidpointRounding.ToEven).ToString("0.00", CultureInfo.InvariantCulture);

    private static object? NotZero(long value) => value == 0 ? null : value;
}
