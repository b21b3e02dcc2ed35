namespace Bellman.Runtime.Tokenizers;

/// <summary>One turn of a chat.</summary>
/// <param name="Role">Who speaks: system, user, assistant or what else the template knows.</param>
/// <param name="Content">What is said.</param>
public sealed record ChatMessage(string Role, string Content);
