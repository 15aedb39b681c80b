using System.Buffers.Binary;
using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Fuzz.Targets;

/// <summary>Builds what a client says: options and requests, well-formed or not as the input decides.</summary>
internal sealed class NbdConversation
{
    private readonly List<byte> _bytes = [];
    private bool _extended;

    internal byte[] ToArray() => [.. _bytes];

    internal NbdConversation Flags(uint flags) => Number32(flags);

    internal NbdConversation Option(NbdOption option, params ReadOnlySpan<byte> data)
    {
        Number64(NbdMagic.Option).Number32((uint)option).Number32((uint)data.Length);
        _bytes.AddRange(data);
        _extended |= option == NbdOption.ExtendedHeaders;
        return this;
    }

    internal NbdConversation Request(
        NbdCommand command, ulong offset, ulong length, CommandFlags flags = CommandFlags.None, int payload = 0)
    {
        Span<byte> header = stackalloc byte[RequestHeader.ExtendedSize];
        new RequestHeader(flags, command, 1, offset, length).Write(header, _extended);
        _bytes.AddRange(header[..RequestHeader.SizeOf(_extended)]);
        _bytes.AddRange(new byte[payload]);
        return this;
    }

    /// <summary>A name with its length before it, as options carry it.</summary>
    internal static byte[] Named(string text)
    {
        var name = Encoding.UTF8.GetBytes(text);
        var bytes = new byte[4 + name.Length];
        BinaryPrimitives.WriteInt32BigEndian(bytes, name.Length);
        name.CopyTo(bytes.AsSpan(4));
        return bytes;
    }

    /// <summary>The same from decisions: each option and request of the input is often right, sometimes not.</summary>
    internal static byte[] From(ReadOnlySpan<byte> decisions)
    {
        var input = new FuzzInput(decisions);
        var built = new NbdConversation().Flags(input.Byte() is var flags && flags < 200 ? 3u : flags);
        for (var options = input.Choice(8); options > 0 && !input.IsEmpty; options--)
        {
            built.AnyOption(ref input);
        }

        built.Option(NbdOption.Go, [.. Named("vda"), 0, 0]);
        while (!input.IsEmpty)
        {
            built.AnyRequest(ref input);
        }

        return built.ToArray();
    }

    private void AnyOption(ref FuzzInput input)
    {
        var option = (NbdOption)(input.Choice(16) is var choice && choice == 15 ? input.Number32() : (uint)choice);
        if (option == NbdOption.Go)
        {
            return;
        }

        byte[] data = (input.Choice(6)) switch
        {
            0 => [],
            1 => [.. Named("vda"), 0, 1, 0, (byte)input.Choice(5)],
            2 => [.. Named("vda"), 0, 0, 0, 1, .. Named("base:allocation")],
            3 => [.. Named("vda"), 0, 0, 0, 2, .. Named("qemu:"), .. Named("base:")],
            4 => [.. Named("vda"), .. input.Take(input.Choice(32))],
            _ => [.. input.Take(input.Choice(64))],
        };
        Option(option, data);
    }

    private void AnyRequest(ref FuzzInput input)
    {
        var kind = input.Byte();
        if (kind == 255)
        {
            _bytes.AddRange(input.Take(input.Choice(64)));
            return;
        }

        var flags = (CommandFlags)(kind < 128 ? 0 : input.Byte());
        var command = (NbdCommand)(kind % 12);
        var offset = input.Flag() ? input.Interesting64() : (ulong)input.Choice(1 << 20);
        var length = input.Flag() ? input.Interesting64() : (ulong)input.Choice(8192);
        var payload = command == NbdCommand.Write || (flags & CommandFlags.PayloadLength) != 0
            ? (int)Math.Min(length, 8192)
            : 0;
        Request(command, offset, length, flags, payload);
    }

    private NbdConversation Number32(uint number)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, number);
        _bytes.AddRange(bytes);
        return this;
    }

    private NbdConversation Number64(ulong number)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, number);
        _bytes.AddRange(bytes);
        return this;
    }
}
