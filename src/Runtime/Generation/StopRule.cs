using System.Text;
using Bellman.Runtime.Tokenizers;

namespace Bellman.Runtime.Generation;

/// <summary>Ends a sequence by its new tokens; looks at token texts and never tokenises anything again.</summary>
public abstract class StopRule
{
    private protected StopRule() { }

    /// <summary>Never stops.</summary>
    public static StopRule Never { get; } = new NeverStop();

    /// <summary>Stops when the text of the new tokens contains one of some strings.</summary>
    public static StopRule Strings(Tokenizer tokenizer, IReadOnlyList<string> strings) => strings.Count == 0 ? Never : new StopStrings(tokenizer, strings);

    /// <summary>Stops after so many tokens.</summary>
    public static StopRule Tokens(int count) => new TokenCount(count);

    /// <summary>Whether the sequence ends with its last token.</summary>
    /// <param name="newTokens">All new tokens so far, at least one.</param>
    public abstract bool IsMet(IReadOnlyList<int> newTokens);

    private sealed class NeverStop : StopRule
    {
        public override bool IsMet(IReadOnlyList<int> newTokens) => false;
    }

    private sealed class TokenCount(int count) : StopRule
    {
        public override bool IsMet(IReadOnlyList<int> newTokens) => newTokens.Count >= count;
    }

    private sealed class StopStrings(Tokenizer tokenizer, IReadOnlyList<string> strings) : StopRule
    {
        private readonly int _longest = strings.Max(x => Encoding.UTF8.GetByteCount(x));

        public override bool IsMet(IReadOnlyList<int> newTokens)
        {
            // Enough last tokens to hold the longest string: every token but a special one carries at least one byte.
            int first = Math.Max(0, newTokens.Count - _longest - 4);
            Span<int> tail = stackalloc int[newTokens.Count - first];
            for (int i = 0; i < tail.Length; i++) tail[i] = newTokens[first + i];
            string text = tokenizer.Decode(tail);
            foreach (string stop in strings)
                if (text.Contains(stop, StringComparison.Ordinal)) return true;
            return false;
        }
    }
}
