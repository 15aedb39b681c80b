using System.Text.Json.Nodes;

namespace Tidemark.Qmp;

/// <summary>What a server session serves: commands by name.</summary>
public interface IQmpCommandTable
{
    /// <summary>The version to greet with.</summary>
    QmpVersion Version { get; }

    /// <summary>Whether there is such a command.</summary>
    bool Contains(string command);

    /// <summary>Carries a command out. The session calls this for one command at a time.</summary>
    /// <param name="command">A name that <see cref="Contains"/> knows.</param>
    /// <param name="arguments">The arguments; empty when none were sent.</param>
    /// <param name="cancellationToken">Cancelled when the session ends; a command that changes things goes on.</param>
    /// <returns>The value of <c>return</c>.</returns>
    /// <exception cref="QmpException">The command is refused; class and description go to the client.</exception>
    Task<JsonNode> ExecuteAsync(string command, QmpArguments arguments, CancellationToken cancellationToken);
}
