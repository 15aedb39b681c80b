using System.CommandLine;
using System.CommandLine.Parsing;

namespace Tidemark.Cli.Images;

/// <summary>Which verb a command line names.</summary>
/// <param name="IsImage">Whether it is one of <c>tidemark image</c>.</param>
/// <param name="Verb">The innermost command's name.</param>
internal readonly record struct CommandResultPath(bool IsImage, string Verb)
{
    /// <summary>Reads it from a parsed command line.</summary>
    public static CommandResultPath Of(ParseResult parsed)
    {
        var innermost = parsed.CommandResult;
        var isImage = false;
        for (SymbolResult? result = innermost; result is not null; result = result.Parent)
        {
            isImage |= result is CommandResult { Command.Name: ImageCommand.Name };
        }

        return new CommandResultPath(isImage, innermost.Command.Name);
    }
}
