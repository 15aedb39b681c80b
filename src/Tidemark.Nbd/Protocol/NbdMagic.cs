namespace Tidemark.Nbd.Protocol;

/// <summary>The magic numbers of the protocol (doc/proto.md, "Newstyle negotiation" and "Transmission").</summary>
internal static class NbdMagic
{
    internal const ulong Greeting = 0x4e42444d41474943;
    internal const ulong Option = 0x49484156454F5054;
    internal const ulong OldStyle = 0x00420281861253;
    internal const ulong OptionReply = 0x0003e889045565a9;
    internal const uint Request = 0x25609513;
    internal const uint ExtendedRequest = 0x21e41c71;
    internal const uint ExtendedReply = 0x6e8a278c;
    internal const uint SimpleReply = 0x67446698;
    internal const uint StructuredReply = 0x668e33ef;
}
