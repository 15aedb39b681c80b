using System.CommandLine;

namespace Tidemark.Cli.Images;

/// <summary>The option <c>-o</c> of the verbs that make images.</summary>
internal static class CreateOptionsOption
{
    /// <summary>Creates it and adds it to a verb; it may be given several times.</summary>
    public static Option<string[]> AddTo(Command command)
    {
        var option = new Option<string[]>("--options", "-o")
        {
            HelpName = "KEY=VALUE,…",
            Description = "What the image is to be: qcow2 takes compat, cluster_size, refcount_bits, lazy_refcounts, "
                + "extended_l2, compression_type, preallocation, backing_file, backing_fmt, data_file, data_file_raw; "
                + "raw takes preallocation; both take size.",
        };
        command.Add(option);
        return option;
    }
}
