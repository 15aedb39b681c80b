using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Events;
using Tidemark.Engine.Jobs;
using Tidemark.Qcow2;
using Tidemark.Qmp;

namespace Tidemark.Engine.Nodes;

/// <summary><c>blockdev-create</c> (qapi/block-core.json, BlockdevCreateOptions). Under the command gate.</summary>
internal sealed class NodeCreator(NodeSet nodes, JobSet jobs, IEventSink events)
{
    /// <summary>Reads the options and begins the job that does it; what fails from there on is the job's
    /// error.</summary>
    /// <exception cref="QmpException">An option is missing, unknown, or not supported.</exception>
    internal void Start(string jobId, QmpArguments arguments)
    {
        var options = arguments.GetObject("options");
        var driver = options.GetString("driver");
        CreateJob job = driver switch
        {
            "file" => CreateFile(jobId, options),
            "qcow2" => CreateQcow2(jobId, options),
            _ => throw new QmpException(
                QmpException.GenericError, $"Driver '{driver}' does not support blockdev-create here"),
        };
        arguments.CheckNothingLeft();
        jobs.Add(job);
        jobs.Start(job);
    }

    private CreateJob CreateFile(string jobId, QmpArguments options)
    {
        var path = options.GetString("filename");
        var size = options.GetSize("size");
        RefusePreallocation(options);
        options.RefuseUnsupported("nocow", "extent-size-hint");
        return new CreateJob(jobId, events, _ => MakeFileAsync(path, size), static () => { })
        {
            AutoDismiss = false,
        };
    }

    private CreateJob CreateQcow2(string jobId, QmpArguments options)
    {
        var file = options.GetString("file");
        if (options.FindChoice("version", "v2", "v3") == "v2")
        {
            throw options.NotSupported("version");
        }

        RefusePreallocation(options);
        options.RefuseUnsupported("data-file", "data-file-raw", "encrypt", "compression-type");
        foreach (var name in (ReadOnlySpan<string>)["extended-l2", "lazy-refcounts"])
        {
            if (options.FindBoolean(name) == true)
            {
                throw options.NotSupported(name);
            }
        }

        var backingFile = options.FindString("backing-file");
        var create = new Qcow2CreateOptions
        {
            Length = options.GetSize("size"),
            BackingFile = backingFile,
            BackingFormat = options.FindString("backing-fmt"),
        };
        create = options.FindSize("cluster-size") is { } clusterSize
            ? create with { ClusterSize = (int)Math.Min(clusterSize, int.MaxValue) }
            : create;
        create = options.FindInteger("refcount-bits") is { } bits
            ? create with { RefcountBits = (int)Math.Clamp(bits, int.MinValue, int.MaxValue) }
            : create;
        return UseNode(jobId, file, create);
    }

    // The node is this job's alone while it writes the image: as if a format were opened on it.
    private CreateJob UseNode(string jobId, string name, Qcow2CreateOptions create)
    {
        Exception? refusal = null;
        Blocks.Graph.BlockBackend? backend = null;
        try
        {
            backend = nodes.Graph.CreateBackend(nodes.Get(name).Node, $"job '{jobId}'");
            nodes.AddRoot(new RootUse(backend, Writes: true, SharesWrite: false));
            nodes.Permissions.Check();
        }
        catch (Exception exception) when (exception is QmpException or BlockException)
        {
            refusal = exception;
        }

        return new CreateJob(
            jobId,
            events,
            token => refusal is QmpException refused ? throw new BlockException(
                BlockErrorKind.Busy, refused.Description)
                : refusal is not null ? throw refusal
                : backend!.RunAsync(
                    create, static (node, options, token) => Qcow2Image.CreateAsync(node, options, token), token)
                    .AsTask(),
            () =>
            {
                if (backend is not null)
                {
                    nodes.RemoveRoot(backend);
                    backend.Dispose();
                }
            })
        {
            AutoDismiss = false,
        };
    }

    // As QEMU does: an existing file is emptied, unless somebody has it locked.
    private static async Task MakeFileAsync(string path, long size)
    {
        var exists = File.Exists(path);
        var file =
            exists ? RawFileNode.Open("#create", path, readOnly: false) : RawFileNode.Create("#create", path, size);
        await using (file.ConfigureAwait(false))
        {
            if (exists)
            {
                file.SetLength(0);
                file.SetLength(size);
            }
        }
    }

    private static void RefusePreallocation(QmpArguments options)
    {
        if (options.FindChoice("preallocation", "off", "metadata", "falloc", "full") is not (null or "off"))
        {
            throw options.NotSupported("preallocation");
        }
    }
}
