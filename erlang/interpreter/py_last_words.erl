%%% @doc What of an interpreter's standard error tells what it died of.
%%% @private
-module(py_last_words).

-export([text/1]).

-define(KEPT_LINES, 20).
-define(KEPT_CHARACTERS, 2_000).

%% @doc The last lines of what it has said; where C code broke it, the first ones of Python's report of that.
-spec text(Said :: binary()) -> string().
text(Said) ->
    Text =
        case unicode:characters_to_list(Said) of
            List when is_list(List) -> List;
            _ -> binary_to_list(Said)
        end,
    Lines = [Line || Line <- string:split(string:trim(Text), "\n", all), not lists:prefix("Extension modules: ", Line)],
    string:trim(lists:flatten(lists:join("\n", kept(Lines)))).

%% Where it was when C code broke it comes first, and matters most.
kept(Lines) ->
    case lists:dropwhile(fun(Line) -> not lists:prefix("Fatal Python error", Line) end, Lines) of
        [] -> lists:reverse(within(lists:sublist(lists:reverse(Lines), ?KEPT_LINES), ?KEPT_CHARACTERS));
        Fatal -> within(lists:sublist(Fatal, ?KEPT_LINES), ?KEPT_CHARACTERS)
    end.

within([Line | Lines], Left) when length(Line) =< Left -> [Line | within(Lines, Left - length(Line))];
within([Line | _], Left) when Left > 0 -> [lists:sublist(Line, Left)];
within(_, _) -> [].
