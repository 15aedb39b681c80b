using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;

namespace Tidemark.Fuzz.Targets;

/// <summary>
/// The NBD server under a client that says anything: the first byte decides whether the rest is sent as it is, or
/// builds options and requests. At the end no connection is left.
/// </summary>
internal sealed class NbdServerTarget : IFuzzTarget
{
    private readonly Lazy<NbdServer> _server = new(NbdRecording.CreateServer);

    public string Name => "nbd-server";

    public string Description => "the NBD server, handshake and transmission";

    public IReadOnlyList<string> Assemblies => ["Tidemark.Nbd"];

    public TimeSpan HangLimit => TimeSpan.FromSeconds(20);

    public long MemoryLimit => 256 << 20;

    public long AllocationLimit => 64 << 20;

    public int MaximumInput => 16 << 10;

    // Requests of many megabytes take the time of a hundred others.
    public long Cost { get; private set; }

    public IEnumerable<byte[]> Seeds()
    {
        var named = NbdConversation.Named("vda");
        yield return [0, .. new NbdConversation().Flags(3)
            .Option(NbdOption.List)
            .Option(NbdOption.StructuredReply)
            .Option(NbdOption.ListMetaContext, [.. named, 0, 0, 0, 0])
            .Option(NbdOption.SetMetaContext, [.. named, 0, 0, 0, 1, .. NbdConversation.Named("base:allocation")])
            .Option(NbdOption.Info, [.. named, 0, 1, 0, 3])
            .Option(NbdOption.Go, [.. named, 0, 0])
            .Request(NbdCommand.Write, 512, 64, CommandFlags.None, 64)
            .Request(NbdCommand.Read, 0, 512)
            .Request(NbdCommand.BlockStatus, 0, 4096)
            .Request(NbdCommand.WriteZeroes, 4096, 8192, (CommandFlags)2)
            .Request(NbdCommand.Trim, 4096, 8192)
            .Request(NbdCommand.Flush, 0, 0)
            .Request(NbdCommand.Disconnect, 0, 0).ToArray()];
        yield return [0, .. new NbdConversation().Flags(3)
            .Option(NbdOption.ExtendedHeaders)
            .Option(NbdOption.SetMetaContext, [.. named, 0, 0, 0, 1, .. NbdConversation.Named("qemu:")])
            .Option(NbdOption.Go, [.. named, 0, 0])
            .Request(NbdCommand.Read, 0, 4096)
            .Request(NbdCommand.BlockStatus, 0, NbdRecording.DiskLength)
            .Request(NbdCommand.Write, 0, 64, (CommandFlags)32, 64)
            .Request(NbdCommand.Disconnect, 0, 0).ToArray()];
        yield return [0, .. new NbdConversation().Flags(1).Option(NbdOption.ExportName, "vda"u8)
            .Request(NbdCommand.Read, 0, 512).ToArray()];
        yield return [1, 0, 3, 2, 1, 0, 4, 2, 5, 1, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    }

    public void Execute(ReadOnlySpan<byte> input)
    {
        byte[] script = input.IsEmpty ? []
            : (input[0] & 1) == 0 ? input[1..].ToArray()
            : NbdConversation.From(input[1..]);
        var server = _server.Value;
        var before = GC.GetAllocatedBytesForCurrentThread();
        server.ServeHere(new ScriptTransport(script));
        Cost = (GC.GetAllocatedBytesForCurrentThread() - before) >> 18;
        if (server.ConnectionCount != 0)
        {
            throw new InvalidOperationException("a connection is left");
        }
    }
}
