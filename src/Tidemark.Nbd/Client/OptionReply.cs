using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>One reply to an option.</summary>
internal readonly record struct OptionReply(OptionReplyType Type, byte[] Data)
{
    internal bool IsError => (Type & OptionReplyType.ErrorBit) != 0;

    /// <summary>The server's words, or the name of the error.</summary>
    internal string Message => Data.Length > 0 ? $"{Encoding.UTF8.GetString(Data)} ({Type})" : Type.ToString();
}
