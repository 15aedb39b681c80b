using System.Globalization;
using System.Text.RegularExpressions;

namespace Tidemark.Backup.Definitions;

/// <summary>
/// The names of everything that one run makes at a hypervisor. All begin with <c>tidemark-</c> and the run's id, so
/// that what a dead run left is recognised, and what belongs to others is never touched.
/// </summary>
/// <remarks>
/// A node's name has at most 31 characters in QEMU; the prefix takes 26, so nodes are numbered by their disk. The
/// checkpoint's bitmaps are the only names that outlive the run: they have a dot where temporary names have a dash.
/// </remarks>
public sealed partial class RunNames
{
    /// <summary>The beginning of every name.</summary>
    public const string Prefix = "tidemark-";

    /// <summary>Hexadecimal digits of a run's id.</summary>
    public const int IdLength = 16;

    /// <summary>The highest number of disks in one run: what a restore point can hold.</summary>
    public const int MaximumDisks = 256;

    private readonly string _stem;

    /// <summary>The names of a run.</summary>
    /// <param name="runId">Sixteen lower-case hexadecimal digits.</param>
    public RunNames(string runId)
    {
        if (!IsRunId(runId))
        {
            throw new ArgumentException($"'{runId}' is no run id: {IdLength} lower-case hexadecimal digits",
                nameof(runId));
        }

        _stem = Prefix + runId;
    }

    /// <summary>The checkpoint's id, and the name of its bitmap on the first disk that keeps one.</summary>
    public string Checkpoint => _stem;

    /// <summary>The bitmap that a run installs for its own reading only.</summary>
    public string TemporaryBitmap => _stem + "-temp";

    /// <summary>The hypervisor's object that holds the certificates of the run's NBD server (pull).</summary>
    public string TlsObject => _stem + "-tls";

    /// <summary>The hypervisor's object that holds the key of an encrypted image.</summary>
    public string Secret(int disk) => $"{_stem}-key{Number(disk)}";

    /// <summary>Whether a text is a run's id.</summary>
    public static bool IsRunId(string text) =>
        text.Length == IdLength && text.All(c => c is (>= '0' and <= '9') or (>= 'a' and <= 'f'));

    /// <summary>
    /// The checkpoint's bitmap on a disk. Each disk of a run has a bitmap name of its own, so that two disks of one
    /// virtual machine that were exchanged (in the configuration or as files) cannot be taken for each other: the
    /// bitmap that the parent restore point created for this disk is then not found here, and the disk is read whole.
    /// </summary>
    /// <param name="number">The disk's number among those of the run that keep a checkpoint.</param>
    public string CheckpointBitmap(int number) => number == 0 ? _stem : $"{_stem}.{Number(number)}";

    /// <summary>The qcow2 node over the scratch file (pull).</summary>
    public string ScratchNode(int disk) => $"{_stem}-s{Number(disk)}";

    /// <summary>The file node under the scratch (pull).</summary>
    public string ScratchFileNode(int disk) => $"{_stem}-f{Number(disk)}";

    /// <summary>The NBD client node that the job writes to (push).</summary>
    public string TargetNode(int disk) => $"{_stem}-t{Number(disk)}";

    /// <summary>The backup job.</summary>
    public string Job(int disk) => $"{_stem}-job{Number(disk)}";

    /// <summary>The job that creates the scratch file, or the format in it.</summary>
    public string CreateJob(int disk, string layer) => $"{_stem}-create-{layer}{Number(disk)}";

    /// <summary>The export's id and NBD name.</summary>
    public string Export(int disk) => $"{_stem}-disk{Number(disk)}";

    /// <summary>The scratch file's name in its directory.</summary>
    public string ScratchFile(int disk) => $"{_stem}-disk{Number(disk)}.scratch";

    /// <summary>The run that a temporary name belongs to, or null if it is no temporary name of any run.</summary>
    public static string? RunOfTemporary(string name)
    {
        var match = Temporary().Match(name);
        return match.Success ? match.Groups[1].Value : null;
    }

    /// <summary>The run whose checkpoint a bitmap belongs to, or null if the bitmap is not ours.</summary>
    public static string? RunOfCheckpoint(string bitmapName)
    {
        var match = CheckpointName().Match(bitmapName);
        return match.Success ? match.Groups[1].Value : null;
    }

    private static string Number(int disk)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(disk);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(disk, MaximumDisks);
        return disk.ToString(CultureInfo.InvariantCulture);
    }

    [GeneratedRegex("^tidemark-([0-9a-f]{16})-", RegexOptions.CultureInvariant)]
    private static partial Regex Temporary();

    [GeneratedRegex("^tidemark-([0-9a-f]{16})(?:\\.[0-9]+)?$", RegexOptions.CultureInvariant)]
    private static partial Regex CheckpointName();
}
