%%% @doc The name that somebody may have meant. Pure.
%%% @private
-module(py_nearest).

-export([of_name/2, all/2]).

%% Longer ones are nobody's slip of the finger.
-define(MOST_CHARACTERS, 60).

%% @doc The known name that differs least from this one, where one differs little: a third of its letters. A `-' is a `_',
%% and the case of letters is none.
-spec of_name(term(), [atom()]) -> {ok, atom()} | none.
of_name(Name, Known) ->
    case all(Name, Known) of
        [Nearest | _] -> {ok, Nearest};
        [] -> none
    end.

%% @doc All that differ as little, the nearest first.
-spec all(term(), [atom()]) -> [atom()].
all(Name, Known) ->
    case text(Name) of
        [_ | _] = Text when length(Text) =< ?MOST_CHARACTERS ->
            [Each || {_, Each} <- lists:sort([{Distance, Each} || Each <- Known, Distance <- distances(Text, text(Each))])];
        _ ->
            []
    end.

distances(Text, Other) ->
    [Distance || abs(length(Text) - length(Other)) * 3 =< length(Other), Distance <- [distance(Text, Other)], Distance * 3 =< length(Other)].

text(Name) when is_atom(Name) -> plain(atom_to_list(Name));
text(Name) when is_binary(Name); is_list(Name) ->
    try unicode:characters_to_list(Name) of
        List when is_list(List) -> plain(List);
        _ -> ""
    catch
        error:badarg -> ""
    end;
text(_) -> "".

plain(Text) -> [if C =:= $- -> $_; true -> C end || C <- string:lowercase(Text)].

%% Letters added, taken away, changed, or two of them changed with each other (Damerau and Levenshtein), row by row.
distance(First, Second) ->
    {Row, _} = lists:foldl(
        fun(Place, {Last, Before}) -> {row(Place, First, Second, Last, Before), Last} end,
        {list_to_tuple(lists:seq(0, length(Second))), none},
        lists:seq(1, length(First))
    ),
    element(tuple_size(Row), Row).

row(Place, First, Second, Last, Before) ->
    Letter = lists:nth(Place, First),
    {Row, _} = lists:foldl(
        fun(Other, {[Left | _] = Done, Column}) ->
            Changed = element(Column, Last) + if Letter =:= Other -> 0; true -> 1 end,
            Swapped =
                case
                    Place > 1 andalso Column > 1 andalso lists:nth(Place - 1, First) =:= Other andalso
                        lists:nth(Column - 1, Second) =:= Letter
                of
                    true -> element(Column - 1, Before) + 1;
                    false -> Changed
                end,
            {[lists:min([Changed, Swapped, Left + 1, element(Column + 1, Last) + 1]) | Done], Column + 1}
        end,
        {[Place], 1},
        Second
    ),
    list_to_tuple(lists:reverse(Row)).
