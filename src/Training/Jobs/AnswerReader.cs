using Bellman.Runtime.Search.Strategies;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Evaluation;

namespace Bellman.Training.Jobs;

/// <summary>Finds the answers that votes compare as the grader finds them.</summary>
internal sealed class AnswerReader(AnswerRule rule, Tokenizer tokenizer) : IAnswerReader
{
    public string Read(IReadOnlyList<int> solution) => rule.Extract(tokenizer.Decode([.. solution], skipSpecialTokens: true));

    public bool Same(string first, string second) => AnswerEquality.Same(first, second);
}
